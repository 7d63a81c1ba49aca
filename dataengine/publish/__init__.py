"""A corpus as a dataset for others: Parquet by split, a card, credits, Croissant; in a folder or on the Hub."""
