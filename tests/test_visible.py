"""Words of strangers reach a terminal, a page of credits and a log as words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.corpus.config import CorpusConfig
from dataengine.errors import UsageError
from dataengine.sources.attribution import _address, plain
from dataengine.visible import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;pwned\x07", "\\x1b]0;pwned\\x07"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb\x08c\x7f", "a\\x0db\\x08c\\x7f"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("plain ünïcode 🦆\n\ttoo", "plain ünïcode 🦆\n\ttoo"),
    ],
)
def test_what_a_terminal_would_act_upon_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_no_text_leaves_an_escape(text: str) -> None:
    assert not set(visible(text)) & {chr(c) for c in (*range(9), *range(11, 32), *range(127, 160))}


@pytest.mark.parametrize(
    "title",
    [
        "<img src=x onerror=alert(1)>",
        "](javascript:alert(1))",
        "**bold**",
        "`code`",
        "a | b",
        "![x](http://evil/x.png)",
    ],
)
def test_credits_show_markup_and_do_nothing(title: str) -> None:
    written = plain(title)
    for at, letter in enumerate(written):
        if letter in "<>[]`*|":
            assert written[at - 1] == "\\"
    assert written.replace("\\", "") == title.replace("\\", "")


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("https://sketchfab.com/3d-models/a_b?x=1#y", "https://sketchfab.com/3d-models/a_b?x=1#y"),
        ("javascript:alert(1)", "javascript:alert(1)"),
        ("https://x/<script>", "https://x/\\<script\\>"),
        ("https://x/) [y](z", "https://x/) \\[y\\](z"),
    ],
)
def test_addresses_in_credits(address: str, written: str) -> None:
    assert _address(address) == written


@pytest.mark.parametrize(
    "text",
    [
        "[" * 20_000,
        "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nformat: [*b,*b,*b]\n",
        "format: !!python/object/apply:os.system ['true']\n",
        "format: 1\n1: [x]\n",
        "format: 2\nnull: x\n",
    ],
    ids=["deep", "aliases", "a tag", "a number as a key", "nothing as a key"],
)
def test_a_corpus_yaml_that_is_an_attack_is_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"corpus\.yaml") as error:
        CorpusConfig.from_yaml(text, "corpus.yaml")
    assert len(str(error.value)) < 500
