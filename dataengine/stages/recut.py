"""Shards of several corpora, or of one, cut anew: members are copied, nothing is made again.

A plan of the new cut says which asset goes where; `Recut` writes each stage's new shards from the old ones, in the
order of the stages, since a stage's fragments name the hashes of those that they were made from.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from dataengine.corpus.config import CorpusConfig
from dataengine.corpus.fragments import Fragment, list_all, read_fragment, write_fragment
from dataengine.corpus.rewrite import put_tar, read_group, with_ranges
from dataengine.corpus.storage import Store
from dataengine.errors import UsageError

OnShard = Callable[[str, int], None]


@dataclass(frozen=True)
class Origin:
    """A corpus that shards are taken from.

    Attributes:
        store, plan: its files, and its plan's rows.
        stages: stage → its fragments that are current, by shard.
    """

    store: Store
    plan: pa.Table
    stages: Mapping[str, Mapping[int, Fragment]]

    @staticmethod
    def of(store: Store, config: CorpusConfig, plan: pa.Table) -> "Origin":
        """Reads all fragments of a corpus. Its stages come in the order in which they were made from each other."""
        inputs = {n: s for n, s in zip(*(plan[c].to_pylist() for c in ("shard", "shard_input")), strict=True) if s}
        listed = {stage: sorted(shards) for stage, shards in list_all(store).items()}
        read = {
            stage: {n: f for n in shards if n in inputs and (f := read_fragment(store, stage, n)) is not None}
            for stage, shards in listed.items()
        }
        stages: dict[str, dict[int, Fragment]] = {}
        left = {stage: fragments for stage, fragments in read.items() if fragments}
        while left:
            ready = [s for s, fragments in left.items() if _made_from(fragments) in (None, *stages)]
            if not ready:
                break  # made from a stage that is gone: nothing of it is current
            for stage in ready:
                fragments, before = left.pop(stage), _made_from(read[stage])
                stages[stage] = {
                    n: f
                    for n, f in fragments.items()
                    if (
                        f.input == inputs[n] + _suffix(config, stage)
                        if before is None
                        else n in stages[before] and f.input == stages[before][n].sha256
                    )
                }
        return Origin(store, plan, stages)

    def undone(self) -> str | None:
        """A stage and its shards that are not current, in words; None if all that was begun is done."""
        shards = {n for n in self.plan["shard"].to_pylist() if n is not None}
        for stage, fragments in self.stages.items():
            missing = sorted(shards - fragments.keys())
            if missing:
                shown = ", ".join(map(str, missing[:8])) + (" …" if len(missing) > 8 else "")
                return f"{stage} has not made shard {shown}"
        return None


@dataclass
class Recut:
    """Writes the shards of a new cut.

    Attributes:
        origins: where the assets' members are.
        target: the store that is written.
        config: of the new corpus.
        plan: of the new cut, with its shards' inputs.
    """

    origins: Sequence[Origin]
    target: Store
    config: CorpusConfig
    plan: pa.Table
    _hashes: dict[tuple[str, int], str] = field(default_factory=dict)

    def write(self, fragments_in: Store, on_shard: OnShard = lambda stage, shard: None) -> dict[str, list[int]]:
        """Writes all shards that can be made whole from the origins; one that is there already is taken as it is.

        Args:
            fragments_in: the store that the fragments are put into.
            on_shard: told of each.

        Returns:
            stage → its shards.

        Raises:
            UsageError: if a stage has other settings in another origin.
            DataengineError: if a member is damaged, or the target cannot be written.
        """
        written: dict[str, list[int]] = {}
        places = _places(self.plan)
        chosen = self._chosen()
        for stage in dict.fromkeys(stage for origin in self.origins for stage in origin.stages):
            known = {row["uid"]: (o, f, row) for o, f, row in self._rows(stage) if chosen.get(row["uid"], o) is o}
            for shard, planned in sorted(places.items()):
                found = [known.get(uid) for uid, _, _ in planned]
                if all(found) and self._write(fragments_in, stage, shard, planned, [f for f in found if f]):
                    written.setdefault(stage, []).append(shard)
                    on_shard(stage, shard)
        return written

    def _chosen(self) -> dict[str, Origin]:
        """Of an asset that several origins have: the first in which it did not fail, for all stages alike."""
        chosen: dict[str, Origin] = {}
        stages = dict.fromkeys(s for o in self.origins for s, found in o.stages.items() if found)
        for stage in [
            s for s in stages if all(_made_from(o.stages[s]) is None for o in self.origins if o.stages.get(s))
        ]:
            for origin, _, row in self._rows(stage):  # the first origin's come last
                if row["status"] == "ok" or row["uid"] not in chosen:
                    chosen[row["uid"]] = origin
        return chosen

    def _rows(self, stage: str) -> Iterator[tuple[Origin, Fragment, Mapping[str, Any]]]:
        for origin in reversed(self.origins):  # the first has the last word
            for fragment in origin.stages.get(stage, {}).values():
                yield from ((origin, fragment, row) for row in fragment.table.to_pylist())

    def _write(
        self,
        fragments_in: Store,
        stage: str,
        shard: int,
        planned: Sequence[tuple[str, int, str]],
        found: Sequence[tuple[Origin, Fragment, Mapping[str, Any]]],
    ) -> bool:
        fragments = list({id(f): f for _, f, _ in found}.values())
        first = fragments[0]
        made_from = first.head.get("made_from")
        if made_from is None:
            input = planned[0][2] + _suffix(self.config, stage)
        else:
            before = self._hashes.get((made_from, shard))
            if before is None:
                return False
            input = before
        there = read_fragment(fragments_in, stage, shard)
        if there is None or there.input != input or there.spec != first.spec:
            groups = ((row["uid"], read_group(origin.store, row)) for origin, _, row in found)
            name, tar = put_tar(self.target, stage, shard, groups)
            rows = with_ranges([row for _, _, row in found], tar)
            numbers = [row for _, row, _ in planned]
            there = write_fragment(
                fragments_in,
                stage,
                shard,
                schema=pa.unify_schemas([f.table.schema.remove_metadata() for f in fragments]),
                input=input,
                made_from=made_from,
                spec=first.spec,
                tar=name,
                tar_sha256=tar.sha256 if name else None,
                settings=first.settings,
                rows=[{**r, "shard": shard, "row": n, "tar": name} for r, n in zip(rows, numbers, strict=True)],
            )
        self._hashes[stage, shard] = there.sha256
        return True


def check_specs(origins: Sequence[Origin], names: Sequence[str]) -> list[str]:
    """Stages that several origins have with other settings, a line each."""
    said = []
    for stage in dict.fromkeys(stage for origin in origins for stage in origin.stages):
        specs: dict[str | None, str] = {}
        for origin, name in zip(origins, names, strict=True):
            for fragment in origin.stages.get(stage, {}).values():
                specs.setdefault(fragment.spec, f"{name}: {_spec(fragment)}")
        if len(specs) > 1:
            said.append(f"{stage} was made with other settings ({'; '.join(specs.values())})")
    return said


def _spec(fragment: Fragment) -> str:
    tokenizer = fragment.settings.get("tokenizer")
    if not tokenizer:
        return str(fragment.spec)[:12]
    return ", ".join(f"{k} {tokenizer[k]}" for k in ("resolution", "background", "weights_sha256") if tokenizer.get(k))


def _suffix(config: CorpusConfig, stage: str) -> str:
    """What follows a shard's input in the fragments of a stage that is made from the plan."""
    view_set = config.set_of(stage)
    return "" if view_set is None else view_set.input


def _made_from(fragments: Mapping[int, Fragment]) -> str | None:
    made_from: str | None = next(iter(fragments.values())).head.get("made_from")
    return made_from


def _places(plan: pa.Table) -> dict[int, list[tuple[str, int, str]]]:
    """Shard → (uid, row, shard_input) of its assets in order."""
    places: dict[int, list[tuple[str, int, str]]] = {}
    columns = (plan[c].to_pylist() for c in ("shard", "uid", "row", "shard_input"))
    for shard, uid, row, input in zip(*columns, strict=True):
        if shard is not None:
            places.setdefault(shard, []).append((uid, row, input))
    for assets in places.values():
        assets.sort(key=lambda a: a[1])
    return places


def need_done(origin: Origin, where: str) -> None:
    """Raises UsageError if a stage of a corpus was begun and is not done: half a shard cannot be moved."""
    if undone := origin.undone():
        raise UsageError(f"{where}: {undone}, or made it from what has changed since; finish that first")
