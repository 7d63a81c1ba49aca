"""Options from settings classes: what is written at a field is what the command takes, shows and hands on."""

from pathlib import Path
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner, Result
from pydantic import BaseModel, Field
from pydantic.dataclasses import dataclass

from dataengine.cli.options import Settings, SettingsCommand, parse_settings, settings_options
from dataengine.errors import UsageError

NAMES = ("red", "green")


class Model(BaseModel):
    folder: Path = Field(description="Where.")
    kind: Literal["a", "b"] = Field("a", description="Which.")
    amount: int = Field(3, ge=1, le=9, description="How much.")
    share: float | None = Field(None, gt=0, lt=1, description="Of all.", json_schema_extra={"default": "half"})
    colour: str = Field("red", description="Of it.", json_schema_extra={"metavar": "NAME"})
    quick: bool = Field(False, description="Hurry.")
    careful: bool = Field(True, description="Look twice.")
    maybe: bool | None = Field(None, description="Or not.")
    several: tuple[str, ...] = Field((), description="Some.")
    hidden: int = Field(0, description="Nobody's business.")


@dataclass(frozen=True)
class Plain:
    steps: int = Field(default=4, ge=1, description="Of it.")


HERE = "tests.cli.test_options"
SETTINGS = Settings(
    f"{HERE}:Model", leave_out=("hidden",), flags={"amount": "--how-much"}, known={"colour": f"{HERE}:NAMES"}
)


def invoke(*words: str, settings: Settings = SETTINGS) -> tuple[Result, dict[str, Any]]:
    got: dict[str, Any] = {}

    @click.command(cls=SettingsCommand)
    @click.option("--first")
    @settings_options(settings)
    @click.option("--last")
    def command(**given: Any) -> None:
        got.update(given)

    return CliRunner().invoke(command, words), got


@pytest.mark.parametrize("words", [("--folder", "x", "--colour", "-5..30"), ("--folder", "x", "--colour=-5..30")])
def test_a_value_may_begin_with_a_minus(words: tuple[str, ...]) -> None:
    result, got = invoke(*words)
    assert result.exit_code == 0, result.output
    assert got["colour"] == "-5..30"


def test_only_what_is_given_is_handed_on_by_the_fields_names() -> None:
    result, got = invoke("--folder", "x")
    assert result.exit_code == 0, result.output
    assert got == {"first": None, "last": None, "folder": Path("x")}
    words = "--folder x --kind b --how-much 7 --share 0.25 --colour green --quick --no-careful --no-maybe"
    _, got = invoke(*words.split(), "--several", "p", "--several", "q")
    assert Model(**got) == Model(
        folder=Path("x"), kind="b", amount=7, share=0.25, colour="green", quick=True, careful=False, maybe=False,
        several=("p", "q"),
    )  # fmt: skip


def test_help_says_defaults_bounds_and_names_in_the_place_of_the_settings() -> None:
    text = " ".join(invoke("--help")[0].output.split())
    assert "Where. [required]" in text
    assert "--kind [a|b] Which. [default: a]" in text
    assert "How much. [default: 3; 1<=x<=9]" in text
    assert "Of all. [default: half; 0<x<1]" in text
    assert "--colour NAME Of it: red, green. [default: red]" in text
    assert "--careful / --no-careful Look twice. [default: careful]" in text
    assert "--quick Hurry. --careful" in text
    assert "--maybe / --no-maybe Or not." in text
    assert "Nobody" not in text
    assert text.index("--first") < text.index("--folder") < text.index("--several") < text.index("--last")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--folder", "x", "--how-much", "10"), "10 is not in the range 1<=x<=9"),
        (("--folder", "x", "--share", "1"), "1.0 is not in the range 0<x<1"),
        (("--folder", "x", "--kind", "c"), "'c' is not one of 'a', 'b'"),
        (("--how-much", "2"), "Missing option '--folder'"),
        (("--folder", "x", "--hidden", "2"), "No such option '--hidden'"),
    ],
)
def test_what_the_field_forbids_the_option_refuses(words: tuple[str, ...], said: str) -> None:
    result, _ = invoke(*words)
    assert (result.exit_code, said in result.output) == (2, True), result.output


def test_dataclasses_and_chosen_fields() -> None:
    assert invoke("--steps", "2", settings=Settings(f"{HERE}:Plain"))[1]["steps"] == 2
    result, _ = invoke("--help", settings=Settings(f"{HERE}:Model", only=("colour", "kind")))
    assert result.output.index("--colour") < result.output.index("--kind")
    assert "--folder" not in result.output


def test_key_value_words_are_read_as_the_options_are() -> None:
    words = ("amount=7", "share=0.25", "careful=no", "folder=a/b", "kind=b")
    assert parse_settings(words, SETTINGS, "--set") == {
        "amount": 7, "share": 0.25, "careful": False, "folder": Path("a/b"), "kind": "b",
    }  # fmt: skip
    for word, said in (
        ("amount=0", "--set amount=0: 0 is not in the range 1<=x<=9"),
        ("hidden=1", "--set 'hidden=1' is not KEY=VALUE with a key of amount, careful, colour"),
        ("amount", "--set 'amount' is not KEY=VALUE"),
        ("careful=perhaps", "--set careful=perhaps: 'perhaps' is not a valid boolean"),
    ):
        with pytest.raises(UsageError) as found:
            parse_settings([word], SETTINGS, "--set")
        assert str(found.value).startswith(said)
