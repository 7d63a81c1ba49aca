"""Arguments that several commands share."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from dataengine.errors import UsageError
from dataengine.report.log import LOG

F = TypeVar("F", bound=Callable[..., Any])

DEVICE = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda …")
WEIGHTS_OUTPUT = click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help=".safetensors to write."
)
SHEET_OUTPUT = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("sheet.png"),
    show_default=True,
    help="PNG to write.",
)


def corpus_argument(f: F) -> F:
    """CORPUS, a folder or URL that defaults to the current folder."""
    return click.argument("corpus", default=".", metavar="[CORPUS]")(f)


def corpus_and(name: str) -> Callable[[F], F]:
    """CORPUS and one more argument, of which CORPUS may be left out: `inspect UID` is `inspect . UID`."""
    return click.argument("words", nargs=-1, required=True, metavar=f"[CORPUS] {name}")


def split_words(words: tuple[str, ...], name: str) -> tuple[str, str]:
    """(corpus, other) of the words that `corpus_and` collected."""
    if len(words) > 2:
        raise click.UsageError(f"too many arguments: give CORPUS and {name}, and quote what has spaces")
    return (".", words[0]) if len(words) == 1 else (words[0], words[1])


def allow_private(f: F) -> F:
    """--allow-private: a setting of this process and those it starts, since downloads happen in many places."""

    def allow(_: click.Context, __: click.Parameter, value: bool) -> None:
        if value:
            from dataengine.download.public_only import ALLOW

            os.environ[ALLOW] = "1"

    help = "Also fetch what lists name, or are redirected to, on private networks and this machine."
    return click.option("--allow-private", is_flag=True, expose_value=False, callback=allow, help=help)(f)


def metrics_option(f: F) -> F:
    """--metrics-port; the command gets `metrics`, which are served until it ends."""

    def serve(ctx: click.Context, _: click.Parameter, port: int | None) -> Any:
        if port is None:
            return None
        from dataengine.report.metrics import serving

        return ctx.with_resource(serving(port))

    help = "Show Prometheus metrics at this port while it runs; 0: any that is free."
    kind = click.IntRange(0, 65535)
    return click.option("--metrics-port", "metrics", type=kind, metavar="PORT", callback=serve, help=help)(f)


def ask(question: str, yes: bool) -> None:
    """Asks before something is changed, unless that was answered with --yes.

    Raises:
        UsageError: if nobody is there to be asked.
        click.Abort: if the answer is no.
    """
    if yes:
        return
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort as e:
        if sys.stdin.isatty():
            raise
        raise UsageError("there is nobody to be asked: add --yes") from e
    if not agreed:
        raise click.Abort


def parse_shards(text: str, known: list[int]) -> list[int]:
    """Shard numbers of a `--shard` value: `17`, `3,9-12` or `all`.

    Raises:
        UsageError: if it cannot be read, or there are no shards at all.

    A shard that the plan does not have is told and left out, so that a job array may be longer than the plan.
    """
    if text == "all":
        return known
    wanted: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdigit() or (dash and not high.isdigit()):
            raise UsageError(f"--shard {text!r} is not a number, a list like 3,9-12, or 'all'")
        first, last = int(low), int(high) if dash else int(low)
        if first > last:
            raise UsageError(f"--shard {text!r}: {part} counts backwards")
        if not known:
            raise UsageError(f"no shard {last}: the plan has no shards")
        there = [n for n in known if first <= n <= last]
        if len(there) <= last - first:
            missing = last if last > known[-1] else next(n for n in range(first, last + 1) if n not in there)
            LOG.warning("no shard %d: the plan has shards %d to %d", missing, known[0], known[-1])
        wanted += there
    return sorted(set(wanted))


def shard_option(f: F) -> F:
    """--shard, all by default."""
    return click.option("--shard", default="all", show_default=True, metavar="N", help="17, or 3,9-12, or all.")(f)
