"""View sets of a corpus that is planned again: finished ones stay, others may be added."""

from collections.abc import Collection, Sequence

from dataengine.corpus.config import CorpusConfig, Limits, ViewSet


def sets_again(
    asked: Sequence[ViewSet] | None, old: CorpusConfig, begun: Collection[str]
) -> tuple[tuple[ViewSet, ...], list[str]]:
    """(the corpus's sets from now on, what of them differs from what is finished, for a person).

    A set that is begun keeps the numbers and the revision that it was planned with; one that has no shard yet is
    planned afresh. Limits decide what fails, not what an asset looks like: those asked for hold for all sets.

    Args:
        asked: what this plan asks for; None: what the corpus has.
        old: the corpus as it was planned.
        begun: the stages that have a committed shard.
    """
    if asked is None:
        return old.sets, []
    limits, seed = asked[0].render.limits, asked[0].render.seed
    wanted = {s.name: s for s in asked}
    if seed != old.seed:
        return tuple(asked), [f"seed {old.seed} → {seed}"]
    differing: list[str] = []
    sets = []
    for known in old.sets:
        new = wanted.pop(known.name, known)
        if known.stage in begun:
            differing += _differences(known, new, old.format, alone=len(old.sets) == 1)
            new = known
        sets.append(_with_limits(new, limits))
    if wanted and old.format == 1:
        differing.append("a corpus of format 1 has one view set")
    return (*sets, *wanted.values()), differing


def _differences(old: ViewSet, new: ViewSet, format: int, alone: bool) -> list[str]:
    was, now = (s.render.model_dump(mode="json") for s in (old, new))
    where = "" if alone else f"view set {old.name}: "
    keys = [key for key in {**was, **now} if format == 1 or key != "limits"]
    return [f"{where}{key} {was.get(key)} → {now.get(key)}" for key in keys if was.get(key) != now.get(key)]


def _with_limits(view_set: ViewSet, limits: Limits) -> ViewSet:
    return view_set.model_copy(update={"render": view_set.render.model_copy(update={"limits": limits})})
