"""Tokens of a published dataset: one row per asset, in Parquet beside its views."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.shards import read_member
from dataengine.manifests.catalog import Catalog
from dataengine.publish.table import split_writers, with_features

COLUMNS = with_features(
    pa.schema([("uid", pa.string()), ("caption", pa.string()), ("tokens", pa.list_(pa.list_(pa.int32())))])
)


def publish_tokens(
    corpus: Corpus, catalog: Catalog, folder: Path, stage: str, condition: str
) -> dict[str, Mapping[str, Any]]:
    """Writes the tokens that were made from a stage's views, of the assets that a condition selects; a folder for each
    set of tokens.

    Returns:
        Token set → its tokenizer, its rows by split, and the grid of one view's tokens (rows, columns); `tokens` has a
        list per view, row by row.
    """
    query = f"""
        SELECT t.tokenizer, t.uid, a.caption, a.split, t.tar, t.members FROM token_rows t
        JOIN assets a ON a.uid = t.uid
        WHERE t.status = 'ok' AND t.made_from = '{stage}' AND a.uid IN (SELECT uid FROM renders WHERE {condition})
        ORDER BY t.tokenizer, t.shard, t.row
    """
    published: dict[str, Mapping[str, Any]] = {}
    names = catalog.sql(f"SELECT DISTINCT tokenizer FROM token_rows WHERE made_from = '{stage}' ORDER BY 1").fetchall()
    for (name,) in names:
        writers = split_writers(folder / name, COLUMNS)
        grid: tuple[int, ...] = ()
        rows = catalog.sql(f"FROM ({query}) WHERE tokenizer = '{name}'").to_arrow_reader(256)
        for batch in rows:
            for row in batch.to_pylist():
                member = next(m for m in row["members"] if m["name"] == "tokens.npy")
                codes = np.load(io.BytesIO(read_member(corpus.store, row["tar"], member)))
                grid = codes.shape[1:]
                tokens = codes.reshape(len(codes), -1).astype(np.int32).tolist()
                writers.add(row["split"], {"uid": row["uid"], "caption": row["caption"], "tokens": tokens})
        writers.close()
        if grid:
            published[name] = {"tokenizer": name, "splits": dict(writers.counts()), "grid": grid}
    return published
