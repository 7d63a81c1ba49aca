"""Commands that change a finished corpus: captions, remove, rebalance, merge."""

from pathlib import Path
from typing import Any

import click

from dataengine.cli.arguments import ask, corpus_argument
from dataengine.errors import UsageError
from dataengine.report.log import result, say
from dataengine.visible import counted


@click.command()
@corpus_argument
@click.option(
    "--from",
    "files",
    multiple=True,
    metavar="FILE",
    help="CSV, Parquet or JSON lines with a key and a caption, cap3d, or captions/NAME: a stage's. Repeatable.",
)
@click.option("--rewrite-shards", is_flag=True, help="Put the present captions into the tars' <uid>.txt too.")
def captions(corpus: str, files: tuple[str, ...], rewrite_shards: bool) -> None:
    """Give assets other captions; nothing is rendered or tokenized again. Training reads the present ones."""
    from dataengine.corpus.corpus import Corpus
    from dataengine.stages.recaption import rewrite_captions, set_captions

    if not files and not rewrite_shards:
        raise UsageError("nothing to do: give --from FILE, --rewrite-shards, or both")
    if files:
        done = set_captions(corpus, files)
        for note in done.notes:
            result(f"note: {note}")
        result(f"{done.read} captions for {done.assets} assets: {done.changed} changed, {done.without} have none")
        if done.unknown:
            result(f"note: no asset bears the key {', '.join(done.unknown)} (and maybe others)")
    if rewrite_shards:
        written = rewrite_captions(Corpus.open(corpus))
        result(f"{written} tars written again; `dataengine verify --prune` drops those that they replace")
    elif files:
        result(f"the tars keep theirs until: dataengine captions {corpus} --rewrite-shards")


@click.command()
@click.argument("words", nargs=-1, metavar="[CORPUS] UID...")
@click.option("--where", metavar="SQL", help="SQL over `assets`: remove those for which it is true.")
@click.option("--reason", metavar="TEXT", help="For the tombstones, such as who asked.")
@click.option(
    "--also",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A folder that was published or exported, or another corpus: take them out there too. Repeatable.",
)
@click.option(
    "--run",
    "runs",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Say whether this training run learned from them; runs beside the corpus are found. Repeatable.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(
    words: tuple[str, ...],
    where: str | None,
    reason: str | None,
    folders: tuple[Path, ...],
    runs: tuple[Path, ...],
    yes: bool,
) -> None:
    """Take assets out of views, tokens, captions, spools and downloads; a tombstone stays.

    UIDs are given whole, for what goes does not come back. Without any: finish a removal that was killed, and clean the
    folders of --also.
    """
    from dataengine.corpus.corpus import CONFIG, PLAN
    from dataengine.corpus.storage import Store
    from dataengine.manifests.catalog import Catalog
    from dataengine.stages.recaption import planned
    from dataengine.stages.takedown import check_known, tombstones
    from dataengine.stages.takedown import remove as take_out
    from dataengine.stages.takedown_folder import clean_folder
    from dataengine.training.learned import runs_that_learned

    has_corpus = bool(words) and any(Store(words[0]).exists(name) for name in (CONFIG, PLAN))
    corpus, uids = (words[0], list(words[1:])) if has_corpus else (".", list(words))
    table = planned(Store(corpus))[1]
    if where is not None:
        uids += [uid for uid in Catalog(corpus).uids(where) if uid not in uids]
        if not uids:
            raise UsageError(f"--where {where!r} selects no asset")
    check_known(table, uids, corpus)
    if uids and reason is None:
        raise UsageError("say why with --reason; it stays in the tombstones")
    learned = runs_that_learned(corpus, uids, runs) if uids else {}
    if uids:
        ask(f"remove {_some(uids)} from {corpus} for good?", yes)
    done = take_out(corpus, uids, reason or "", say=lambda line: say(f"  {line}"))
    gone = set(done.uids) or set(tombstones(table)["uid"].to_pylist())
    shards = counted(sum(map(len, done.shards.values())), "shard")
    result(f"{counted(len(done.uids), 'asset')} removed; {shards} written again")
    for copy in done.copies:
        result(f"its copy {copy} went with it")
    for uid, others in done.same_file.items():
        result(f"note: the file of {uid} is also {', '.join(others)}: remove that too if it is meant")
    for folder in folders:
        _clean_also(folder, gone, reason or "", clean_folder, take_out)
    for run, stages in learned.items():
        result(f"note: {run} learned from {', '.join(stages)}: train it again without them")
    result(f"next: dataengine verify {corpus}")


def _clean_also(folder: Path, gone: set[str], reason: str, clean_folder: Any, take_out: Any) -> None:
    from dataengine.corpus.corpus import CONFIG
    from dataengine.corpus.storage import Store
    from dataengine.stages.recaption import planned

    if (folder / CONFIG).exists():
        table = planned(Store(folder))[1]
        there = {
            u for u, s in zip(table["uid"].to_pylist(), table["status"].to_pylist(), strict=True) if s == "planned"
        }
        done = take_out(folder, sorted(gone & there), reason)
        result(f"{folder}: {counted(len(done.uids), 'asset')} removed from this corpus too")
        return
    cleaned = clean_folder(folder, gone)
    result(f"{folder}: {len(cleaned.deleted)} files and folders deleted, {len(cleaned.changed)} files changed")
    for path in cleaned.left:
        result(f"warning: {path} has the uid of a removed asset in it still; nothing here reads its kind")


def _some(uids: list[str]) -> str:
    shown = ", ".join(uids[:3])
    return shown if len(uids) <= 3 else f"{len(uids)} assets ({shown} …)"


@click.command()
@corpus_argument
@click.option("--shard-size", type=click.IntRange(min=1), required=True, help="Assets per shard.")
def rebalance(corpus: str, shard_size: int) -> None:
    """Cut a finished corpus into shards of another size, by copying. Everything is current afterwards."""
    from dataengine.stages.rebalance import rebalance as cut_again

    def told(stage: str, shard: int) -> None:
        say(f"  {stage} shard {shard}")

    count = cut_again(corpus, shard_size, on_shard=told, say=say)
    result(f"{counted(count, 'shard')} of {counted(shard_size, 'asset')}")


@click.command()
@click.argument("corpora", nargs=-1, required=True, metavar="CORPUS CORPUS...")
@click.option("-o", "--output", required=True, metavar="CORPUS", help="The new corpus: a folder or URL.")
def merge(corpora: tuple[str, ...], output: str) -> None:
    """Put corpora that were made alike into a new one, by copying what was made. They stay as they are."""
    from dataengine.stages.merge import merge as put_together

    if len(corpora) < 2:
        raise UsageError("merge takes two corpora or more")
    done = put_together(corpora, output, on_shard=lambda s, n: say(f"  {s} shard {n}"))
    for note in done.notes:
        result(f"note: {note}")
    if done.removed:
        result(f"{len(done.removed)} assets that one corpus has removed are left out")
    shards = ", ".join(f"{stage} {len(numbers)}" for stage, numbers in done.shards.items()) or "none"
    result(f"{done.assets} assets, {done.twice} of them in several corpora; shards: {shards}")


COMMANDS = [captions, remove, rebalance, merge]
