"""The credits that licences ask for: title, author, source and licence of exactly the assets in use."""

import re
from collections.abc import Iterator
from typing import Any

from dataengine.manifests.catalog import Catalog
from dataengine.sources.licences import is_non_commercial
from dataengine.visible import visible

_BATCH = 10_000


def credits(catalog: Catalog, where: str | None = None) -> Iterator[str]:
    """Lines of a Markdown document, licence by licence.

    Args:
        catalog: of a corpus.
        where: which assets, as for `Catalog.uids`; None: those that were rendered, or all where none is yet.

    Raises:
        UsageError: if the condition is wrong or selects nothing.
    """
    if where is None:
        rendered = catalog.sql("select 1 from assets where status = 'ok' limit 1").fetchall()
        where = "status = 'ok'" if rendered else "status = 'planned'"
    query = f"""
        select uid, title, author, page_url, uri, licence, attribution, source from assets
        where status <> 'duplicate' and (\n{where}\n) order by licence nulls last, title nulls last, uid
    """
    rows: Any = catalog.sql(query)
    yield "# Credits"
    heading: object = ()
    for batch in rows.to_arrow_reader(_BATCH):
        for row in batch.to_pylist():
            uid, title, author, page, uri, licence, attribution, source = row.values()
            if licence != heading:
                heading = licence
                yield from ("", f"## {_heading(licence)}", "")
            if attribution:
                yield f"- {plain(attribution)} (`{uid}`)"
                continue
            name = f"“{plain(title)}”" if title else f"`{uid}`"
            by = f" by {plain(author)}" if author else ""
            yield f"- {name}{by}, {_address(page or uri)} ({plain(public_source(source))})"


def licence_url(licence: str) -> str | None:
    """Where a Creative Commons licence can be read."""
    if licence == "cc0-1.0":
        return "https://creativecommons.org/publicdomain/zero/1.0/"
    match = re.fullmatch(r"cc-(by[a-z-]*)-(\d\.\d)(-us)?", licence)
    return f"https://creativecommons.org/licenses/{match[1]}/{match[2]}/{'us/' if match[3] else ''}" if match else None


def _heading(licence: str | None) -> str:
    if licence is None:
        return "Unknown licence: ask the authors before you use or publish these"
    text = plain(licence) + (f" ({url})" if (url := licence_url(licence)) else "")
    return text + (": no commercial use" if is_non_commercial(licence) else "")


def plain(text: object) -> str:
    """A stranger's words as one line of Markdown that shows them and does nothing else: no link, no HTML."""
    return re.sub(r"([\\`*_\[\]<>&|~])", r"\\\1", visible(" ".join(str(text).split())))


def public_source(source: str) -> str:
    """A source without the folder on somebody's disk: `local:/home/me/models` → `local`; `objaverse:lvis` as it is."""
    kind, _, rest = source.partition(":")
    return kind if "/" in rest and "://" not in rest else source


def _address(text: object) -> str:
    """A web address as it is, so that it can be followed; of a file its name, since folders are nobody's business."""
    text = str(text)
    if re.fullmatch(r"https?://[\w\-.~:/?#@!$&'+,;=%]+", text, re.ASCII):
        return text
    return plain(text if "://" in text else text.rsplit("/", 1)[-1])
