"""The commit of a shard: tar first, under a name that carries its content's hash, and the fragment last.

So no kill and no second run can leave a fragment that points into another tar.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataengine.corpus.fragments import Fragment, tar_name, write_fragment
from dataengine.corpus.os_errors import explain
from dataengine.corpus.shards import write_shard
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError


def commit_shard(
    store: Store,
    stage: str,
    shard: int,
    assets: Iterable[tuple[Mapping[str, Any], Mapping[str, bytes]]],
    *,
    schema: pa.Schema,
    input: str,
    made_from: str | None = None,
    spec: str | None = None,
    plan: str | None = None,
    settings: Mapping[str, Any],
    folder: Path,
) -> Fragment:
    """Writes a shard's tar and its fragment.

    Args:
        stage: its name.
        assets: (row, {extension: content}) of each asset in plan order; one that failed has no files.
        schema: of the fragment, see schema.result_schema.
        input: hash of what the shard was made from.
        made_from: the stage that this is the hash of; None: the plan.
        spec: hash of what else decides the results.
        plan: hash of the plan's file at this moment.
        settings: what the stage wants known of the whole shard.
        folder: where the tar is put together, on local disk.

    Raises:
        FileNotFoundError: if what `assets` reads is gone: another run has committed the shard meanwhile.
        DataengineError: if the store or the folder cannot be written.
    """
    rows: list[Mapping[str, Any]] = []

    def groups() -> Iterator[tuple[str, Mapping[str, bytes]]]:
        for row, files in assets:
            rows.append(row)
            if files:
                yield row["uid"], files

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as aside:
            tar = write_shard(Path(aside) / "shard.tar", groups())
            name = tar_name(stage, shard, tar.sha256) if tar.members else None
            if name is not None:
                store.put(name, tar.path)
            fragment = write_fragment(
                store,
                stage,
                shard,
                schema=schema,
                input=input,
                made_from=made_from,
                spec=spec,
                plan=plan,
                tar=name,
                tar_sha256=tar.sha256 if name else None,
                settings=settings,
                rows=[
                    {**r, "shard": shard, "tar": name, "members": [m.as_row() for m in tar.members.get(r["uid"], [])]}
                    for r in rows
                ],
            )
            if name is not None and not store.exists(name):
                store.put(name, tar.path)  # `verify --prune` saw it in the moment when nothing named it
    except FileNotFoundError:
        raise
    except OSError as e:
        raise DataengineError(explain(e, str(folder))) from e
    return fragment
