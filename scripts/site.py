"""Hooks of mkdocs.yml: pages that are made of something else than a page of docs/.

README's neighbours (CHANGELOG.md …) become pages, and links to them lead there; the notebook becomes a page with its
outputs; the page on the command line is made of the commands.
"""

import json
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from dataengine.cli import build

ROOT = Path(__file__).parents[1]
CODE = re.compile(r"`[^`]+`")
NEIGHBOURS = ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name in NEIGHBOURS:
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, name, content=text))
    notebook = files.src_uris["notebook.ipynb"]
    files.append(File.generated(config, "notebook.md", content=notebook_page(json.loads(notebook.content_string))))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    if page.file.src_uri == "cli.md":
        return markdown + "".join(command_section(*found) for found in commands(build(), "dataengine"))
    # A bar within code within a table: code hosts want it escaped, Python-Markdown shows the backslash.
    markdown = re.sub(
        r"^\|.*$", lambda row: CODE.sub(lambda c: c[0].replace("\\|", "|"), row[0]), markdown, flags=re.MULTILINE
    )
    markdown = markdown.replace("notebook.ipynb)", "notebook.md)")
    return re.sub(rf"\]\((?:\.\./)+({'|'.join(map(re.escape, NEIGHBOURS))})", r"](\1", markdown)


def on_page_content(html: str, page: Page, **_: object) -> str:
    return linked(html) if page.file.src_uri == "api.md" else html


def commands(group: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
    """The commands of a group and of the groups in it, under their full names, in the order of the work."""
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def command_section(name: str, command: click.Command) -> str:
    """A heading, how the command is called, its help, and a row for each option, in the words of `--help`."""
    with click.Context(command, info_name=name, terminal_width=1000) as ctx:
        usage = f"{name} {' '.join(command.collect_usage_pieces(ctx))}"
        shown = (p.get_help_record(ctx) for p in command.get_params(ctx) if p.name != "help")
        records = [record for record in shown if record is not None]  # not those of all commands, which are hidden
    rows = [
        f"<tr><td><code>{escape(option)}</code></td><td>{words(text)}</td></tr>" for option, text in records if text
    ]
    paragraphs = [f"<p>{words(text)}</p>" for text in (command.help or "").split("\n\n")]
    table = f'<table class="options">{"".join(rows)}</table>' if rows else ""
    title = name.removeprefix("dataengine ")
    return f"\n\n## {title}\n\n```sh\n{usage}\n```\n\n{''.join(paragraphs)}\n\n{table}\n"


def option_cell(option: str) -> str:
    kind = ' class="short"' if len(option) < 40 else ""  # which stays on one line
    return f"<code{kind}>{escape(option)}</code>"


def words(text: str) -> str:
    """Words of a help text as HTML: `…` is code, docs/….md leads to the page."""
    html = CODE.sub(lambda found: f"<code>{found[0][1:-1]}</code>", escape(text, quote=False))
    return " ".join(linked(html).split())


def linked(html: str) -> str:
    """Pages by the names that help texts and docstrings call them by, as links."""
    return re.sub(r"docs/(\w+)\.md", r'<a href="\1.html">\1</a>', html)


def notebook_page(notebook: dict[str, Any]) -> str:
    return "\n\n".join(map(cell_as_markdown, notebook["cells"]))


def cell_as_markdown(cell: dict[str, Any]) -> str:
    """A cell of a notebook (nbformat 4) with its outputs: text as it was printed, PNGs inline."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    parts = [f"```python\n{source}\n```"]
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            parts.append(f"![what the cell draws](data:image/png;base64,{''.join(data['image/png'].split())})")
        else:
            text = "".join(output.get("text") or data["text/plain"])
            parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts)
