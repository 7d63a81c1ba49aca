"""An asset's uid, as a person gives it: whole, or its beginning."""

from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog

UID_LENGTH = 32


def whole_uid(catalog: Catalog, start: str) -> str:
    """The uid that begins so, in small letters or capitals; one that is whole is found at once in a corpus of any size.

    Raises:
        UsageError: if there is none, or several begin so; the message names the nearest.
    """
    if len(start) == UID_LENGTH and _known(catalog, start):
        return start
    text = start.lower().replace("'", "''")
    matches = catalog.sql(
        f"SELECT DISTINCT uid FROM assets WHERE shard IS NOT NULL AND starts_with(uid, '{text}') ORDER BY uid LIMIT 4"
    ).fetchall()
    if len(matches) == 1:
        return str(matches[0][0])
    if matches:
        shown = ", ".join(str(m[0])[: len(start) + 4] + "…" for m in matches[:3])
        raise UsageError(f"several assets begin with {start!r} ({shown}): give more digits")
    nearest = catalog.sql(
        f"""
        SELECT uid, uri FROM assets WHERE shard IS NOT NULL
        ORDER BY contains(lower(uri), '{text}') DESC, levenshtein(uid, '{text}'), uid LIMIT 1
        """
    ).fetchall()
    hint = f"; the nearest is {nearest[0][0]} ({nearest[0][1]})" if nearest else ""
    raise UsageError(f"{catalog.corpus.url} has no asset {start!r}{hint}")


def _known(catalog: Catalog, uid: str) -> bool:
    try:
        catalog.find(uid)
    except UsageError:
        return False
    return True
