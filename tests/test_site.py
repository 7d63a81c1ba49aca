"""The pages as a site, and the commands that they show."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import click
import pytest

import dataengine
from dataengine.cli import build
from tests.cli.test_help import commands

ROOT = Path(__file__).parents[1]
PAGES = (*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "SECURITY.md")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?:^ {4}[^\n]+\n)+", re.MULTILINE)
INLINE = re.compile(r"`(dataengine [^`]+)`")
PLACEHOLDER = re.compile(r"[A-Z_]{1,}|\$.*")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason="mkdocs-material is not installed (pip install 'dataengine[docs]')")
    pytest.importorskip("mkdocstrings_handlers.python", reason="mkdocstrings[python] is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {
        **os.environ,
        "NO_MKDOCS_2_WARNING": "1",
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def text_of(page: Path) -> str:
    return unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_every_command_and_option_is_on_its_page(site: Path) -> None:
    text = text_of(site / "cli.html")
    for name, command in commands(build()):
        if isinstance(command, click.Group):
            continue
        section = text.partition(f"\ndataengine {name} ")[2].partition("\ndataengine ")[0]
        assert section, name
        with click.Context(command, info_name=name) as ctx:
            own = (p for p in command.get_params(ctx) if isinstance(p, click.Option) and not p.hidden)
            options = [p for p in own if p.name != "help"]
        for word in (word for option in options for word in option.opts):
            assert word in section, f"{name} {word}"


def test_every_public_name_is_on_its_page(site: Path) -> None:
    html = (site / "api.html").read_text(encoding="utf-8")
    for name in dataengine.__all__:
        assert name == "__version__" or f'id="dataengine.{name}"' in html, name


def test_the_search_knows_every_page(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert found >= {p.relative_to(site).as_posix() for p in site.rglob("*.html") if p.name != "404.html"}
    assert (site / "search" / "search_index.js").exists()  # for pages that are opened from disk


def test_a_page_asks_nothing_of_the_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        asked = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(https?:[^\"'> ]+)", html)
        asked += re.findall(
            r"<link\b[^>]*\brel=[\"']?(?:stylesheet|preload|icon|preconnect)[^>]*\bhref=[\"']?(https?:[^\"'> ]+)", html
        )
        assert not asked, page.name


def test_the_search_finds_a_column_in_pages_that_are_opened_from_disk(site: Path, browser: Any) -> None:
    context = browser.new_context(offline=True)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.goto((site / "index.html").as_uri())
    page.locator("[data-md-component=search-query]").press_sequentially("depth_error")
    page.wait_for_selector(".md-search-result__item a[href*='columns.html']")
    context.close()
    assert complaints == []


def lines(text: str) -> Iterator[list[str]]:
    """The words of each call of dataengine in a block: a line, or several that belong together."""
    pending = ""
    for line in text.splitlines():
        pending = f"{pending}\n{line}" if pending else line.strip()
        if pending.endswith("\\"):
            pending = pending[:-1]
            continue
        try:
            words = shlex.split(pending.replace("\\n", " "), comments=True)
        except ValueError:  # a quotation that goes on in the next line
            continue
        pending = ""
        if words[:1] == ["dataengine"]:
            yield words[1:]


def calls() -> Iterator[tuple[str, list[str]]]:
    """(page, words) of each call of dataengine that a page shows, in blocks and in its text."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        code = [block for language, block in FENCED.findall(text) if language in ("sh", "bash", "")]
        rest = FENCED.sub("", text)
        for block in (*code, *INDENTED.findall(rest), *INLINE.findall(rest)):
            for words in lines(block):
                yield page.name, words


def check(words: list[str]) -> None:
    """Raises a click exception if there is no such command, option or choice. Reads no files."""
    command: click.Command = build()
    ctx = click.Context(command, info_name="dataengine")
    while isinstance(command, click.Group):
        _, (name, *words), _ = command.make_parser(ctx).parse_args(list(words))  # options of all commands come first
        found = command.get_command(ctx, name)
        if found is None:
            raise click.UsageError(f"no command {name}")
        command, ctx = found, click.Context(found, ctx, name)
    values, rest, order = command.make_parser(ctx).parse_args(list(words))
    if rest:
        raise click.UsageError(f"too many arguments: {rest}")
    for param in order:
        if isinstance(param.type, click.Choice | click.types.IntRange | click.types.FloatRange):
            for value in str(values[param.name]).split("|"):  # pages write nerf|blender for either
                if not PLACEHOLDER.fullmatch(value):
                    param.type.convert(value, param, ctx)


def test_every_command_of_a_page_is_one() -> None:
    wrong = []
    seen = 0
    for page, words in calls():
        seen += 1
        if "…" in words or words in ([], ["--help"], ["COMMAND", "--help"]):
            continue
        try:
            check(words)
        except click.ClickException as e:
            wrong.append(f"{page}: dataengine {shlex.join(words)}: {e.format_message()}")
    assert not wrong, "\n".join(wrong)
    assert seen > 150
