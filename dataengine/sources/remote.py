"""Rows of the plan whose files are not on this machine: behind a URL, or in an archive."""

from pathlib import Path
from urllib.parse import urlsplit

from dataengine.download.archives import Member
from dataengine.download.asset_files import Remote
from dataengine.download.dependencies import FORMATS, Bundle, home_of
from dataengine.download.wanted import Wanted
from dataengine.sources.source import Row


def locate_single(row: Row) -> Remote:
    """Of a source whose files refer to no others."""
    return Remote(Wanted(row["uri"], suffix_of(row), row["sha256"]))


def locate_url(row: Row) -> Remote | Bundle | Member:
    """Of any URL: a member of an archive, a file with neighbours, or one without."""
    uri = str(row["uri"])
    if uri.startswith("zip://"):
        return locate_member(row)
    home = home_of(uri) if row["format"] in FORMATS else None
    main = locate_single(row)
    return main if home is None else Bundle(main, home, row["format"], bundle_key(row))


def locate_member(row: Row) -> Member:
    """Of a URI as `zipped` makes it."""
    name, _, archive = str(row["uri"]).removeprefix("zip://").partition("::")
    return Member(archive, name, bundle_key(row), row["sha256"])


def bundle_key(row: Row) -> str:
    """What the cache knows the folder of a row's files by."""
    return f"{row['uri']}\n{row['uid']}"


def suffix_of(row: Row) -> str:
    """Blender and the readers go by the extension; a USD has four."""
    extension = Path(urlsplit(str(row["uri"]).partition("::")[0]).path).suffix.lower()
    return extension if row["format"] == "usd" and extension else f".{row['format']}"
