"""What is said after Ctrl-C: only commands that go on are said to."""

import click
import pytest
from click.testing import CliRunner

from dataengine.cli import build
from dataengine.cli.group import BEGIN_ANEW, Main


@pytest.mark.parametrize(("name", "goes_on"), [("render", True), ("train", True), ("eval", False), ("query", False)])
def test_only_what_goes_on_is_said_to(name: str, goes_on: bool) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    main = Main("dataengine", commands=[click.Command(name, callback=stopped)])
    done = CliRunner().invoke(main, [name])
    assert done.exit_code == 130
    assert "stopped" in done.output and ("run the same command again" in done.output) == goes_on


def test_the_commands_that_begin_anew_are_there() -> None:
    assert set(build().commands) >= BEGIN_ANEW
