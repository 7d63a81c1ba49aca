"""Source `hssd`: the Habitat Synthetic Scenes Dataset's 18,656 objects, behind a gate, for non-commercial use.

The models are in `hssd/hssd-models`; what is known of them is in `hssd/hssd-hab`: `semantics/objects.csv`, and one
`.object_config.json` an object, whose `up` is authoritative.
"""

import json
from pathlib import Path
from typing import Any

import duckdb

from dataengine.download.http import Downloader
from dataengine.download.hub import file_url, info_url
from dataengine.download.pins import Pins, gate_message
from dataengine.download.wanted import Wanted
from dataengine.errors import AssetFailure, DataengineError, UsageError
from dataengine.manifests.connection import scratch
from dataengine.sources.listing import SourceListing, SourceQuery, assets_table
from dataengine.sources.remote import locate_single
from dataengine.sources.source import Source

MODELS = "hssd/hssd-models"
HABITAT = "hssd/hssd-hab"
LICENCE = "cc-by-nc-4.0"


def find_hssd(part: str, query: SourceQuery) -> SourceListing:
    """All objects of HSSD.

    Raises:
        UsageError: if a part is asked for; there are none.
        DataengineError: if the terms are not accepted, the token is missing or wrong, or the hub is away.
    """
    if part:
        raise UsageError(f"hssd has no parts; use hssd, not hssd:{part}")
    downloads = query.downloads
    pins = Pins(query.revision, downloads)
    files = _files(downloads, pins[MODELS])[: query.first]
    ids = [Path(f["rfilename"]).stem for f in files]
    uids = [i[:32] for i in ids]
    semantics = _semantics(downloads, pins[HABITAT])
    ups = _ups(downloads, pins[HABITAT], [f["rfilename"] for f in files])
    known = [semantics.get(i, {}) for i in ids]
    table = assets_table(
        {
            "uid": uids,
            "group_id": uids,
            "stem": ids,
            "path": [f["rfilename"] for f in files],
            "source": ["hssd"] * len(ids),
            "uri": [file_url(MODELS, pins[MODELS], f["rfilename"]) for f in files],
            "format": ["glb"] * len(ids),
            "sha256": [(f.get("lfs") or {}).get("sha256") for f in files],
            "bytes": [f.get("size") for f in files],
            "title": [k.get("name") for k in known],
            "tags": [_tags(k) for k in known],
            "licence": [LICENCE] * len(ids),
            "page_url": [f"https://huggingface.co/datasets/{MODELS}"] * len(ids),
            "up": ups,
            "up_source": ["source" if up else "format" for up in ups],
        }
    )
    notes = () if semantics else (f"{HABITAT} has no semantics/objects.csv: no titles and tags",)
    return SourceListing("hssd", pins.text, table, notes)


def _files(downloads: Downloader, revision: str) -> list[dict[str, Any]]:
    try:
        answer = json.loads(downloads.read(info_url(MODELS, revision)))
        files = [f for f in answer["siblings"] if f["rfilename"].startswith("objects/")]
    except AssetFailure as e:
        raise DataengineError(gate_message(MODELS, e)) from e
    except (ValueError, KeyError, TypeError) as e:
        raise DataengineError(f"the hub's list of {MODELS} cannot be read: {e}") from e
    return sorted((f for f in files if f["rfilename"].endswith(".glb")), key=lambda f: str(f["rfilename"]))


def _semantics(downloads: Downloader, revision: str) -> dict[str, dict[str, Any]]:
    """objects.csv by id; empty where the file has moved."""
    try:
        path = downloads.get(Wanted(file_url(HABITAT, revision, "semantics/objects.csv"), ".csv"))
    except AssetFailure:
        return {}
    with scratch() as con:
        try:
            rows = con.execute("select * from read_csv(?, header=true, all_varchar=true)", [str(path)])
            names = [d[0] for d in rows.description or []]
            return {str(row["id"]): row for values in rows.fetchall() if (row := dict(zip(names, values, strict=True)))}
        except (duckdb.Error, KeyError):
            return {}


def _tags(known: dict[str, Any]) -> list[str]:
    columns = ("main_category", "super_category", "main_wnsynsetkey", "foundIn")
    return list(dict.fromkeys(str(known[c]) for c in columns if known.get(c)))


def _ups(downloads: Downloader, revision: str, names: list[str]) -> list[str | None]:
    """'Y' or 'Z' of each object, from its configuration; None where it says nothing or has none."""
    ups: list[str | None] = [None] * len(names)

    def note(index: int, outcome: Path | AssetFailure) -> None:
        if isinstance(outcome, Path):
            ups[index] = _axis(outcome)

    wanted = [Wanted(file_url(HABITAT, revision, n.replace(".glb", ".object_config.json")), ".json") for n in names]
    downloads.get_many(wanted, note)
    return ups


def _axis(path: Path) -> str | None:
    try:
        up = json.loads(path.read_bytes())["up"]
        largest = max(range(3), key=lambda i: abs(float(up[i])))
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return {1: "Y", 2: "Z"}.get(largest)


SOURCE = Source("hssd", "hssd", find_hssd, locate_single)
