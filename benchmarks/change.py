"""What does it cost to change a finished corpus?

    python benchmarks/change.py                     # 10,000 assets of two views, with tokens, compacted
    python benchmarks/change.py --assets 100_000

The pixels are invented; tars, fragments and plan are real. Each command runs in a process of its own. After `remove`
every column, member and file of corpus, spool and cache is decoded and searched for the asset.
"""

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dataengine import Catalog, Corpus
from dataengine.corpus.rewrite import read_group
from dataengine.manifests.compact import compact
from dataengine.manifests.status import status
from tests.synthetic import make_corpus, uid_of

STAGES = ("views/orbit8", "tokens/small")


def timed(name: str, *words: object) -> None:
    """Runs a command of dataengine; prints its seconds and CPU seconds."""
    before, start = os.times(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "dataengine", *map(str, words)], check=False, capture_output=True, text=True
    )
    after = os.times()
    cpu = sum(getattr(after, f"children_{kind}") - getattr(before, f"children_{kind}") for kind in ("user", "system"))
    last = (done.stdout or done.stderr).strip().splitlines()[-1]
    print(f"{name:<44} {time.monotonic() - start:6.1f} s {cpu:6.1f} CPU s   {last}", flush=True)
    if done.returncode:
        sys.exit(done.stderr)


def members(corpus: Corpus) -> dict[tuple[str, str], dict[str, bytes]]:
    """(stage, uid) → its members."""
    found = {}
    for stage in STAGES:
        for shard in corpus.shards():
            fragment = corpus.fragment(stage, shard)
            assert fragment is not None
            found |= {(stage, row["uid"]): read_group(corpus.store, row) for row in fragment.table.to_pylist()}
    return found


def everything(folder: Path) -> Iterator[tuple[str, str]]:
    """(file, what is in it as text) of all files, decoded: columns of Parquet, members of tars."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        yield str(path), data.decode("latin-1")
        if data[:4] == b"PAR1":
            for column in pq.read_table(io.BytesIO(data)).columns:
                yield str(path), "\n".join(map(str, column.to_pylist()))
        elif path.suffix == ".tar":
            with tarfile.open(path) as tar:
                for info in tar:
                    content = tar.extractfile(info)
                    yield str(path), info.name + (content.read().decode("latin-1") if content else "")


def still_to_make(corpus: Corpus) -> int:
    """Assets that some stage would make again."""
    return sum(stage.assets_left for stage in status(Catalog(corpus)).stages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=int, default=10_000)
    assets = parser.parse_args().assets
    with tempfile.TemporaryDirectory(prefix="dataengine-change-") as name:
        folder = Path(name)
        os.environ |= {"DATAENGINE_SPOOL": str(folder / "spool"), "XDG_CACHE_HOME": str(folder / "cache")}
        shards = -(-assets // 256)
        corpus = make_corpus(folder / "c", assets, shard_size=256, failing=lambda n: False, tokens=range(shards))
        compact(corpus)
        before = members(corpus)
        uids = [uid_of(n) for n in range(assets)]
        pq.write_table(
            pa.table({"uid": uids, "caption": [f"new words for {n}" for n in range(assets)]}), folder / "n.parquet"
        )
        timed(f"{assets:,} captions changed", "captions", corpus.url, "--from", folder / "n.parquet")
        print(f"{'':<44} {still_to_make(Corpus.open(corpus.url))} assets to be made again")
        (folder / "n.parquet").unlink()
        gone = uids[assets // 2]
        timed("one asset removed", "remove", corpus.url, gone, "--reason", "asked", "--yes")
        print(f"{'':<44} {still_to_make(Corpus.open(corpus.url))} assets to be made again")
        now = members(Corpus.open(corpus.url))
        same = all(
            now[key][name] == data
            for key, group in before.items() if key[1] != gone
            for name, data in group.items() if name != "txt"
        )  # fmt: skip
        print(f"the other assets' members are the same bytes: {same and len(now) == len(before) - len(STAGES)}")
        pixels = {data.decode() for stage in STAGES for data in before[stage, gone].values() if len(data) > 20}
        needles = {gone, f"models/{assets // 2}.glb", f"new words for {assets // 2}", *pixels}
        found = {(file, needle) for file, text in everything(folder) for needle in needles if needle in text}
        print("what is left of it:", sorted({Path(file).relative_to(folder).as_posix() for file, _ in found}))
        print("  and there:", sorted({needle for _, needle in found}), flush=True)
        timed("the captions' copies in all tars", "captions", corpus.url, "--rewrite-shards")
        timed("  verified, and what they replaced dropped", "verify", corpus.url, "--prune")


if __name__ == "__main__":
    main()
