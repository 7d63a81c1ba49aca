"""What the corpus knows: schemas of the Parquet files, fragments, and the DuckDB catalog over them."""
