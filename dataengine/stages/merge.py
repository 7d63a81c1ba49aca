"""`merge`: several corpora become one, by copying their members. Nothing is rendered.

The first corpus keeps its shards; those of the next follow them. The new corpus begins to exist when its plan is put,
last of all: until then a killed merge goes on where it was.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from dataengine.corpus.config import CorpusConfig
from dataengine.corpus.gone import JOURNAL
from dataengine.corpus.schema import PLAN
from dataengine.corpus.storage import Store
from dataengine.errors import UsageError
from dataengine.render.environment import FOLDER as LIGHTS
from dataengine.stages.plan_files import read_before, write_plan
from dataengine.stages.plan_shards import with_inputs
from dataengine.stages.recaption import planned
from dataengine.stages.recut import OnShard, Origin, Recut, check_specs

# Of corpus.yaml, what may differ: it decides neither bytes nor rows of what is there.
_FREE = {
    "version",
    "sources",
    "plan_sha256",
    "where",
    "limit",
    "sample",
    "captions",
    "shard_size",
    "guess_up",
    "limits",
}


@dataclass
class Merged:
    """What `merge` did.

    Attributes:
        assets: planned in the new corpus.
        twice: of these, in more than one of the corpora with the same file: the first one's is taken.
        removed: uids that one corpus has removed and another had still: they are not in the new one.
        shards: stage → shards that were written.
        notes: for the person, one line each.
    """

    assets: int
    twice: int = 0
    removed: list[str] = field(default_factory=list)
    shards: dict[str, list[int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def merge(urls: Sequence[str | Path], target: str | Path, *, on_shard: OnShard = lambda stage, shard: None) -> Merged:
    """Puts the assets of several corpora, and what was made of them, into a new one.

    Args:
        urls: of the corpora, two or more; they stay as they are.
        target: of the new corpus.
        on_shard: told of each shard that is written.

    Raises:
        UsageError: if they were rendered or tokenized with other settings, in words by line; if one uid stands for two
            files; if the target is a corpus already.
        DataengineError: if a member is damaged, or the target cannot be written. Run it again to go on.
    """
    stores = [Store(url) for url in urls]
    names = [store.url for store in stores]
    into = Store(target)
    into.check_writable()
    if into.url in names or read_before(into) is not None:
        raise UsageError(f"{into.url} is a corpus already: give the new one a folder of its own")
    for store in stores:
        if store.exists(JOURNAL):
            raise UsageError(f"{store.url}: a removal was not finished; run `dataengine remove {store.url}` first")
    read = [planned(store) for store in stores]
    _check_settings([config for config, _ in read], names)
    origins = [Origin.of(store, config, table) for store, (config, table) in zip(stores, read, strict=True)]
    if clash := check_specs(origins, names):
        raise UsageError(f"the corpora do not fit: {'; '.join(clash)}")
    done = Merged(0)
    config = _config([config for config, _ in read], done)
    plan = with_inputs(_plan([table.select(PLAN.names).cast(PLAN) for _, table in read], names, done), config)
    done.shards = Recut(origins, into, config, plan).write(into, on_shard)
    for name in dict.fromkeys(f"{LIGHTS}/{hdri.file}" for s in config.sets for hdri in s.render.hdris):
        into.put(name, stores[0].read(name))  # the settings are the same, and so are the maps
    write_plan(into, config, plan)
    done.assets = plan.num_rows - plan["shard"].null_count
    return done


def _check_settings(configs: Sequence[CorpusConfig], names: Sequence[str]) -> None:
    """Raises UsageError with the lines of corpus.yaml that differ."""
    first = _fixed(configs[0])
    for config, name in zip(configs[1:], names[1:], strict=True):
        lines = [line for line in difflib.ndiff(first, _fixed(config)) if line.startswith(("- ", "+ "))]
        if lines:
            said = "; ".join(f"{names[0] if line[0] == '-' else name}: {line[2:].strip()}" for line in lines[:8])
            more = f"; and {len(lines) - 8} more lines" if len(lines) > 8 else ""
            raise UsageError(f"the corpora do not fit: {said}{more}")


def _fixed(config: CorpusConfig) -> list[str]:
    settings = yaml.safe_load(config.to_yaml())
    kept = {key: value for key, value in settings.items() if key not in _FREE}
    return str(yaml.safe_dump(kept, sort_keys=False, default_flow_style=False, width=120)).splitlines()


def _config(configs: Sequence[CorpusConfig], done: Merged) -> CorpusConfig:
    first = configs[0]
    sources = {source.spec: source for config in reversed(configs) for source in config.sources}
    update: dict[str, Any] = {
        "sources": tuple(sources[spec] for spec in dict.fromkeys(s.spec for c in configs for s in c.sources)),
        "captions": tuple(dict.fromkeys(spec for config in configs for spec in config.captions)),
        "plan_sha256": None,
    }
    for name in ("where", "limit", "sample"):
        if any(getattr(config, name) != getattr(first, name) for config in configs):
            update[name] = None
            done.notes.append(f"they were planned with another --{name}: planning the new one again has none")
    return first.model_copy(update=update)


def _plan(tables: Sequence[pa.Table], names: Sequence[str], done: Merged) -> pa.Table:
    """The rows of all plans: each uid once, shards one after the other, tombstones for all."""
    stones = pa.concat_tables([t.filter(pc.equal(t["status"], "removed")) for t in tables]).to_pylist()
    buried = {row["uid"]: row for row in reversed(stones)}
    seen: dict[str, tuple[str, Any]] = {}
    parts: list[pa.Table] = []
    shards = 0
    for table, name in zip(tables, names, strict=True):
        rows = table.filter(pc.not_equal(table["status"], "removed"))
        keep = []
        for row in rows.select(["uid", "status", "sha256", "uri", "format", "up"]).to_pylist():
            uid, file = row["uid"], (row["sha256"] or row["uri"], row["format"], row["up"])
            where, before = seen.get(uid, (name, file))
            if before != file and row["status"] == "planned":
                raise UsageError(f"{uid} is another asset in {name} ({row['uri']}) than in {where}: remove one of them")
            keep.append(uid not in seen and uid not in buried)
            done.twice += uid in seen and row["status"] == "planned"
            if uid in buried and row["status"] == "planned":
                done.removed.append(uid)
            seen[uid] = (where, before)
        rows = rows.filter(pa.array(keep, pa.bool_()))
        column = pc.add(rows["shard"], pa.scalar(shards, pa.int32()))
        rows = rows.set_column(rows.schema.get_field_index("shard"), "shard", column)
        parts.append(rows)
        shards = max(shards, (pc.max(column).as_py() if pc.count(column).as_py() else shards - 1) + 1)
    return pa.concat_tables([*parts, pa.Table.from_pylist(list(buried.values()), schema=PLAN)])
