"""A corpus of many rows, without tars: what the gallery has to carry."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dataengine.corpus import schema
from dataengine.corpus.config import CorpusConfig, SourceConfig, content_hash
from dataengine.corpus.corpus import CONFIG, PLAN, Corpus
from dataengine.corpus.fragments import write_fragment
from dataengine.corpus.storage import Store
from tests.synthetic import START, plan_row


def make_large(folder: Path, assets: int, shard_size: int = 5_000) -> Corpus:
    """All shards rendered, every tenth asset failed; asset n has depth error n / assets and title `model n`."""
    store = Store(folder)
    config = CorpusConfig(sources=(SourceConfig(spec="local:models"),), shard_size=shard_size)
    store.put(CONFIG, config.to_yaml().encode())
    rows = [plan_row(n, shard_size, title=f"model {n}") for n in range(assets)]
    for row in rows:
        row["shard_input"] = content_hash(row["shard"])
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema.PLAN), buffer, row_group_size=shard_size)
    store.put(PLAN, buffer.getvalue())
    corpus = Corpus.open(folder)
    for shard in corpus.shards():
        planned = rows[shard * shard_size : (shard + 1) * shard_size]
        results = []
        for n, row in enumerate(planned, start=shard * shard_size):
            result = {"uid": row["uid"], "shard": shard, "row": row["row"], "attempts": 1, "finished_at": START}
            result |= {"cpu_seconds": 1.0 + n % 7, "wall_seconds": 2.0, "members": []}
            if n % 10 == 9:
                result |= {"status": "failed", "error": "CRASH", "message": f"asset {n} is bad", "log": "words"}
            else:
                result |= {"status": "ok", "num_views": 2, "resolution": 64, "up": "Z", "scale": 1.0}
                result |= {"offset": [0.0] * 3, "azimuth": [0.0, 90.0], "elevation": [30.0] * 2, "clipped": [0, 0]}
                result |= {"coverage": [0.2, n / assets], "luminance_mean": [0.5] * 2, "luminance_spread": [0.1] * 2}
                result |= {"depth_coverage": [1.0] * 2, "depth_error": n / assets, "depth_error_footprint": 0.2}
            results.append(result)
        write_fragment(
            store,
            config.sets[0].stage,
            shard,
            schema=schema.VIEWS,
            input=planned[0]["shard_input"] + config.sets[0].input,
            tar=None,
            tar_sha256=None,
            settings={},
            rows=results,
        )
    return corpus
