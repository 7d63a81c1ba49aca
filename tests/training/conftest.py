from pathlib import Path
from typing import Any

import duckdb
import pytest

from dataengine.corpus import Corpus
from dataengine.training.index import Index, build_index

from .synthetic import make_corpus


def catalog_of(corpus: Corpus) -> Any:
    db = duckdb.connect()
    db.execute(
        f"""CREATE VIEW samples AS
        WITH members AS (
            SELECT * FROM (
                SELECT uid, shard, "row", tar, num_views, grid, unnest(members) AS m, 'toy' AS tokenizer
                FROM '{corpus.url}/tokens/*/*.parquet'
            )
        )
        SELECT t.uid, t.tokenizer, t.shard, t."row", t.tar, t.num_views, t.grid, p.split, p.licence, p.caption,
            max(m."offset") FILTER (m.name = 'tokens.npy') AS tokens_offset,
            max(m.size) FILTER (m.name = 'tokens.npy') AS tokens_size,
            max(m."offset") FILTER (m.name = 'cameras.npy') AS cameras_offset,
            max(m.size) FILTER (m.name = 'cameras.npy') AS cameras_size,
            max(m."offset") FILTER (m.name = 'txt') AS caption_offset,
            max(m.size) FILTER (m.name = 'txt') AS caption_size
        FROM members t JOIN '{corpus.url}/plan/assets.parquet' p ON p.uid = t.uid GROUP BY ALL"""
    )
    return db


def index_of(corpus: Corpus, **choice: Any) -> Index:
    return build_index(catalog_of(corpus), corpus.store, "toy", **choice)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(Path(tmp_path_factory.mktemp("corpus")))
