"""Arguments that several commands share."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from dataengine.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


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


def parse_shards(text: str, known: list[int]) -> list[int]:
    """Shard numbers of a `--shard` value: `17`, `3,9-12` or `all`.

    Raises:
        UsageError: if it cannot be read or names a shard that the plan does not have.
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
        if not known or last > known[-1]:
            raise UsageError(f"no shard {last}: the plan has {_range(known)}")
        wanted += range(first, last + 1)
    there = set(known)
    missing = [n for n in wanted if n not in there]
    if missing:
        raise UsageError(f"no shard {missing[0]}: the plan has {_range(known)}")
    return sorted(set(wanted))


def _range(known: list[int]) -> str:
    return f"shards {known[0]} to {known[-1]}" if known else "no shards"
