"""What `doctor` looked at: a table for a person, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table

CheckState = Literal["ok", "warn", "fail", "gated", "moved", "unreachable"]
_MILD = {"ok": "green", "warn": "yellow", "gated": "yellow"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        state: of this machine: 'ok', 'warn' (works, but slower, smaller or less confined) or 'fail' (rendering will
            not work). Of a place online: 'ok', 'gated', 'moved' or 'unreachable'.
        detail: what was found.
        remedy: what to do, empty when ok.
    """

    name: str
    state: CheckState
    detail: str
    remedy: str = ""


def print_checks(checks: Sequence[Check], console: Console, title: str = "check") -> None:
    """The checks as a table, then the remedies in full, so that they can be copied."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column(title, style="bold", overflow="fold")
    table.add_column("found", overflow="fold")
    for check in checks:
        table.add_row(f"[{_MILD.get(check.state, 'red')}]{check.state}[/]", check.name, check.detail)
    console.print(table)
    for check in checks:
        if check.remedy:
            console.print(f"\n{check.name}: {check.remedy}", markup=False, highlight=False, soft_wrap=True)
