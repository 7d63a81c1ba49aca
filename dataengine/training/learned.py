"""Which training runs learned from some assets, as their checkpoints tell it."""

from collections.abc import Sequence
from pathlib import Path

from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.connection import quote
from dataengine.training.config import STAGES


def trained_on(run: Path, corpus: str | None = None) -> dict[str, str]:
    """Stage of a run → SQL over `samples` that selects what it saw; only stages that learned from `corpus`, if given.

    Raises:
        DataengineError: if a checkpoint is damaged.
    """
    from dataengine.training import checkpoints  # which brings torch along

    found: dict[str, str] = {}
    for stage in STAGES:
        newest = checkpoints.latest(run, stage)
        if newest is None:
            continue
        settings = checkpoints.read_state(newest).settings
        if corpus is not None and Store(str(settings["corpus"])).url != corpus:
            continue
        chosen = f"tokenizer = {quote(settings['tokenizer'])} and split = 'train'"
        found[stage] = chosen + (f" and (\n{settings['where']}\n)" if settings["where"] else "")
    return found


def runs_that_learned(url: str, uids: Sequence[str], runs: Sequence[Path] = ()) -> dict[str, dict[str, int]]:
    """Run → stage → how many of the assets it learned from.

    Args:
        url: of the corpus, in which the assets still are.
        uids: the assets.
        runs: folders to look into, besides those in and beside the corpus's folder.

    Raises:
        DataengineError: if a checkpoint of `runs` is damaged, or the corpus cannot be read.
    """
    catalog = Catalog(url)
    corpus = catalog.corpus
    folder = corpus.store.local_path("")
    near = [Path(folder), *Path(folder).parent.iterdir()] if folder is not None else []
    candidates = {*runs, *(p / name for p in near for name in ("", "run") if _is_run(p / name))}
    named = ", ".join(map(quote, uids))
    found: dict[str, dict[str, int]] = {}
    for run in sorted(candidates):
        try:
            chosen = trained_on(run, corpus.url)
        except DataengineError:
            if run in runs:
                raise
            continue  # something beside the corpus that is no run of this version
        for stage, condition in chosen.items():
            query = f"select count(distinct uid) from samples where uid in ({named}) and ({condition})"
            count = int(catalog.sql(query).fetchall()[0][0])
            if count:
                found.setdefault(str(run), {})[stage] = count
    return found


def _is_run(path: Path) -> bool:
    return any((path / stage / "checkpoints").is_dir() for stage in STAGES)
