"""Help: complete, and there at once."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dataengine.cli import build
from dataengine.cli.cluster import RUNNING
from dataengine.cli.drawing import SAMPLING
from dataengine.cli.group import first_sentence
from dataengine.cli.options import Settings
from dataengine.cli.render import PLANNING, RENDERING
from dataengine.cli.tokens import TOKENIZERS
from dataengine.cli.training import RANKS, TRAINING
from dataengine.render.looks import LOOKS
from dataengine.render.recipes import RECIPES
from dataengine.render.rigs import RIG_NAMES, rig


def commands(group: click.Group, name: str = "") -> Iterator[tuple[str, click.Command]]:
    for word, command in group.commands.items():
        yield f"{name} {word}".strip(), command
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}".strip())


def help_of(words: str = "") -> str:
    result = CliRunner().invoke(build(), [*words.split(), "--help"], terminal_width=1000)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_every_command_is_listed_with_its_whole_first_sentence() -> None:
    listed = help_of()
    for name, command in build().commands.items():
        assert f"{name} {first_sentence(command)}" in listed
        assert first_sentence(command).endswith((".", "?")), name


def _is_silent(param: click.Parameter, ctx: click.Context) -> bool:
    record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
    return record is not None and not record[1]


def test_every_option_of_every_command_says_what_it_is() -> None:
    for name, command in commands(build()):
        with click.Context(command, info_name=name) as ctx:
            silent = [p.name for p in command.get_params(ctx) if _is_silent(p, ctx)]
        assert not silent, name


@pytest.mark.parametrize("settings", [PLANNING, RENDERING, TRAINING, SAMPLING, RANKS, RUNNING], ids=lambda s: s.path)
def test_every_field_that_is_an_option_has_its_help_beside_it(settings: Settings) -> None:
    assert [o.name for o in settings.options() if not (o.help or "").endswith(".")] == []


def test_rigs_looks_recipes_and_tokenizers_are_listed() -> None:
    text = help_of("plan")
    for names in (RIG_NAMES, LOOKS, RECIPES):
        assert ", ".join(names) in text
    assert all(rig(name.replace("-N", "-7")) for name in RIG_NAMES)
    assert "|".join(TOKENIZERS) in help_of("tokenize")
    assert ", ".join(TOKENIZERS) in help_of("run")


def test_a_mistake_in_the_words_is_one_line_with_a_way_on() -> None:
    for words, said in (
        (["plna"], "error: No such command 'plna'. Did you mean 'plan'? (see `dataengine --help`)"),
        (["train"], "error: Missing argument 'RUN'. (see `dataengine train --help`)"),
        (["tokenizer", "fix"], "error: No such command 'fix'."),
    ):
        result = CliRunner().invoke(build(), words, prog_name="dataengine")
        assert result.exit_code == 2
        assert result.stderr.startswith(said) and result.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_help_waits_for_nothing_heavy(words: list[str]) -> None:
    heavy = "{'numpy', 'fsspec', 'pyarrow', 'duckdb', 'torch', 'ray', 'pydantic', 'yaml', 'rich', 'asyncio'}"
    code = f"import sys; from dataengine.cli import build; build().main({words!r}, standalone_mode=False); "
    code += f"found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_the_package_and_a_stores_module_are_light(tmp_path: Path) -> None:
    code = (
        "import sys, dataengine, dataengine.errors, dataengine.corpus.storage as s; assert 'fsspec' not in sys.modules"
    )
    code += f"; s.Store({str(tmp_path)!r}); assert 'fsspec' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
