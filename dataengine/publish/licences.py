"""Which licences may be published without being asked for, and what goes with the data: CREDITS.md, LICENSES.csv."""

import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.sources.attribution import credits, licence_url
from dataengine.sources.licences import is_non_commercial

# Ids that the Hub knows by the same name (huggingface_hub's list of licences); others are `license: other`.
ON_THE_HUB = {
    "cc0-1.0",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "cc-by-nd-4.0",
    "cc-by-nc-3.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0",
    "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0",
    "mit",
    "apache-2.0",
    "bsd-2-clause",
    "bsd-3-clause",
    "mpl-2.0",
    "zlib",
    "unlicense",
    "odc-by",
}


def check_licences(counts: Counter[str | None], *, unknown: bool, non_commercial: bool) -> None:
    """Refuses what nobody asked to publish.

    Args:
        counts: licence → assets; None: unknown.
        unknown, non_commercial: whether such assets were asked for.

    Raises:
        UsageError: naming how many there are, and how to leave them out or take them along.
    """
    nameless = counts[None]
    if nameless and not unknown:
        raise UsageError(
            f'{nameless} assets have no known licence: leave them out with --where "licence is not null", or take '
            "them along with --include-unknown-licences"
        )
    restricted = {name: count for name, count in counts.items() if is_non_commercial(name)}
    if restricted and not non_commercial:
        named = ", ".join(f"{count} {name}" for name, count in sorted(restricted.items(), key=str))
        raise UsageError(
            f"{sum(restricted.values())} assets may not be used commercially ({named}): leave them out with "
            "--where \"licence not like '%-nc%'\", or take them along with --include-non-commercial"
        )


def hub_licence(counts: Counter[str | None]) -> dict[str, str]:
    """The licence keys of the card: the one licence of all assets, or `other` with a link to the credits."""
    (only, *more) = counts
    if not more and only in ON_THE_HUB:
        return {"license": str(only)}
    return {"license": "other", "license_name": "per-asset", "license_link": "CREDITS.md"}


def write_licences(catalog: Catalog, folder: Path, where: str, rows: Iterable[dict[str, Any]]) -> None:
    """CREDITS.md, as `attribution` writes it, and LICENSES.csv: uid, licence, its address, title, author, page."""
    with (folder / "CREDITS.md").open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in credits(catalog, where))
    with (folder / "LICENSES.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["uid", "licence", "licence_url", "title", "author", "page_url"])
        for row in rows:
            licence = row["licence"]
            url = licence_url(licence) if licence else None
            cells = [row["uid"], licence, url, row["title"], row["author"], row["page_url"]]
            table.writerow(["" if cell is None else harmless(str(cell)) for cell in cells])


def harmless(cell: str) -> str:
    """Text that a spreadsheet shows and does not compute (OWASP, "CSV Injection")."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
