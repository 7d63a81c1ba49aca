"""`rebalance`: another number of assets per shard, by copying members. Everything is current afterwards.

The new tars are written beside the old ones, the new fragments into `.rebalance/`; a kill until then leaves a corpus
that is as it was, and the next call goes on. Then corpus.yaml goes, so that nothing else can begin; plan and fragments
change places; corpus.yaml comes back last. A kill in between is finished by the same command.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dataengine.corpus.config import CorpusConfig
from dataengine.corpus.corpus import CONFIG
from dataengine.corpus.fragments import fragment_name, list_all, list_fragments
from dataengine.corpus.gone import JOURNAL, tars_of
from dataengine.corpus.storage import Store
from dataengine.errors import UsageError
from dataengine.manifests import compact
from dataengine.stages.plan_files import write_plan
from dataengine.stages.plan_shards import with_inputs
from dataengine.stages.recaption import planned
from dataengine.stages.recut import OnShard, Origin, Recut, need_done

ASIDE = ".rebalance"
READY = f"{ASIDE}/ready"  # there once all new fragments are: from then on they take their places


def rebalance(
    url: str | Path,
    shard_size: int,
    *,
    on_shard: OnShard = lambda stage, shard: None,
    say: Callable[[str], None] = lambda line: None,
) -> int:
    """Cuts a corpus into shards of another size. Nothing else may be at work on it.

    Args:
        url: of the corpus.
        shard_size: assets per shard.
        on_shard: told of each shard that is written.
        say: told what a person should know.

    Returns:
        How many shards the plan has now.

    Raises:
        UsageError: if there is no corpus, or a stage has begun and is not done.
        DataengineError: if a member is damaged, or the store cannot be read or written. Run it again to go on.
    """
    store = Store(url)
    store.check_writable()
    config, table = planned(store)
    if config.format == 1:
        raise UsageError(f"{store.url} is of format 1, and stays as it is cut; plan into a new folder")
    if store.exists(JOURNAL):
        raise UsageError(f"{store.url}: a removal was not finished; run `dataengine remove {store.url}` first")
    aside = Store(f"{store.url}/{ASIDE}")
    new = config.model_copy(update={"shard_size": shard_size, "plan_sha256": None})
    if store.exists(READY):
        going_on = int(store.read(READY))
        say(f"finishing the cut into shards of {going_on} that was begun before")
        new = new.model_copy(update={"shard_size": going_on})
        plan = _cut(table, new)
    else:
        origin = Origin.of(store, config, table)
        need_done(origin, store.url)
        plan = _cut(table, new)
        if plan.equals(table):
            return _count(plan)
        Recut([origin], store, new, plan).write(aside, on_shard)
        store.put(READY, str(shard_size).encode())
    _change_places(store, aside, new, plan)
    if new.shard_size != shard_size:
        return rebalance(url, shard_size, on_shard=on_shard, say=say)
    return _count(plan)


def _cut(table: pa.Table, config: CorpusConfig) -> pa.Table:
    """The plan with shards of the new size, in the order that it has."""
    assets = table.filter(pc.is_valid(table["shard"])).sort_by([("shard", "ascending"), ("row", "ascending")])
    numbers = range(assets.num_rows)
    for name, values in (
        ("shard", [n // config.shard_size for n in numbers]),
        ("row", [n % config.shard_size for n in numbers]),
    ):
        assets = assets.set_column(assets.schema.get_field_index(name), name, pa.array(values, pa.int32()))
    others = table.filter(pc.is_null(table["shard"]))
    return with_inputs(pa.concat_tables([assets, others]), config)


def _change_places(store: Store, aside: Store, config: CorpusConfig, plan: pa.Table) -> None:
    store.delete(CONFIG)
    for name in store.versions(compact.FOLDER, hidden=True):
        store.delete(name)
    shards = set(plan["shard"].drop_null().to_pylist())
    staged = {stage: listed.keys() & shards for stage, listed in list_all(aside).items()}
    for stage, listed in staged.items():
        for shard in sorted(listed):
            store.put(fragment_name(stage, shard), aside.read(fragment_name(stage, shard)))
    for stage in list_all(store):
        for shard in list_fragments(store, stage).keys() - shards:
            store.delete(fragment_name(stage, shard))
        for tar in tars_of(store, stage, named=False):
            store.delete(tar)
    write_plan(store, config, plan)
    store.delete(READY)
    for stage in list_all(aside):
        for shard in list_fragments(aside, stage):
            aside.delete(fragment_name(stage, shard))
    if (folder := store.local_path(ASIDE)) is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _count(plan: pa.Table) -> int:
    return len(set(plan["shard"].drop_null().to_pylist()))
