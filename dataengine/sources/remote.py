"""Rows of the plan whose files are not on this machine: behind a URL, or in an archive."""

import re
from dataclasses import replace
from pathlib import PurePosixPath

from dataengine.download.archives import Member
from dataengine.download.asset_files import Remote
from dataengine.download.dependencies import FORMATS, Bundle, home_of
from dataengine.download.wanted import Wanted
from dataengine.sources.source import Row


def locate_single(row: Row) -> Remote:
    """Of a source whose files refer to no others."""
    return Remote(Wanted(row["uri"], suffix_of(row), row["sha256"]))


def locate_listed(row: Row) -> Remote | Bundle | Member:
    """Of any URL that a list names: a member of an archive, a file with neighbours, or one without."""
    uri = str(row["uri"])
    if uri.startswith("zip://"):
        return replace(locate_member(row), from_list=True)
    single = locate_single(row)
    main = replace(single, wanted=replace(single.wanted, from_list=True))
    home = home_of(uri) if row["format"] in FORMATS else None
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
    path = re.split(r"::|[?#]", str(row["uri"]))[0]
    extension = PurePosixPath(path).suffix.lower()
    return extension if row["format"] == "usd" and extension else f".{row['format']}"
