"""`export`: assets of a corpus into a folder that another trainer reads.

An asset's folder appears whole or not at all, so an export that was ended goes on where it stopped.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.os_errors import explain
from dataengine.corpus.output import whole_file
from dataengine.errors import UsageError
from dataengine.export.asset import ExportAsset
from dataengine.export.layouts import LAYOUTS, Layout, layout
from dataengine.export.records import Exported
from dataengine.manifests.catalog import Catalog
from dataengine.report.asset import rendered

MARK = "export.json"


@dataclass(frozen=True)
class ExportSummary:
    """What an export did.

    Attributes:
        written: assets whose folders were made by this call.
        kept: those that were there already.
        left_out: selected assets without views: not rendered, or failed.
    """

    written: int
    kept: int
    left_out: int


def export_corpus(
    corpus: Corpus,
    folder: Path,
    layout_name: str,
    *,
    where: str | None = None,
    views: str | None = None,
    conditions: str | None = None,
    cameras_only: bool = False,
    on_asset: Callable[[str, int], None] = lambda uid, total: None,
) -> ExportSummary:
    """Writes the assets that a condition selects, as a layout's readers expect them.

    Args:
        corpus: rendered, wholly or in part.
        folder: new, empty, or of an export of the same corpus with the same settings, which goes on.
        layout_name: one of layouts.LAYOUTS.
        where: SQL over the columns of `assets`.
        views: name of the view set; None: the first.
        conditions: name of the view set whose views go where the layout has a place for a second one.
        cameras_only: no pictures.
        on_asset: told each uid as it is done, and how many were selected.

    Raises:
        UsageError: for an unknown layout or view set, a wrong condition, a folder with something else in it, views that
            the layout cannot express or that lack a channel that it needs, nothing to export.
        DataengineError: if a shard or the folder cannot be used.
    """
    corpus.check_models()
    chosen = layout(layout_name)
    if conditions is not None and chosen.conditions is None:
        having = ", ".join(name for name, other in LAYOUTS.items() if other.conditions)
        raise UsageError(f"the {layout_name} layout has no place for a second view set ({having} have)")
    second = conditions or (views if chosen.needs_conditions else None)
    selected = Catalog(corpus).uids(where)
    settings = {
        "layout": layout_name,
        "corpus": corpus.url,
        "cameras_only": cameras_only,
        "views": views,
        "conditions": conditions,
    }
    exported: list[Exported] = []
    kept = 0
    try:
        begun = _begin(folder, settings)
        try:
            conditioned: set[str] = set()
            if chosen.conditions and (second is not None or chosen.needs_conditions):
                for asset in _assets(corpus, where, second, layout_name, cameras_only):
                    record = _record(asset, chosen.conditions, chosen)
                    _write(asset, chosen, folder / record.folder, not cameras_only)
                    conditioned.add(asset.uid)
            for asset in _assets(corpus, where, views, layout_name, cameras_only):
                record = replace(_record(asset, chosen.folder, chosen), conditions=asset.uid in conditioned)
                kept += not _write(asset, chosen, folder / record.folder, not cameras_only)
                exported.append(record)
                on_asset(asset.uid, len(selected))
            if not exported:
                raise UsageError(f"{corpus.url} has no rendered assets" + (" that --where selects" if where else ""))
        except UsageError:
            if begun and not exported:
                shutil.rmtree(folder)
            raise
        if chosen.index:
            chosen.index(folder, exported)
    except OSError as e:
        raise UsageError(explain(e, str(folder))) from e
    return ExportSummary(len(exported) - kept, kept, len(selected) - len(exported))


def _begin(folder: Path, settings: dict[str, Any]) -> bool:
    """Makes the folder and marks it as an export's; whether it is a new one."""
    mark = folder / MARK
    if mark.exists():
        before = json.loads(mark.read_text())
        if before != settings:
            differing = next(k for k in settings if before.get(k) != settings[k])
            raise UsageError(
                f"{folder} holds an export with {differing} = {before.get(differing)!r}, this one has "
                f"{settings[differing]!r}: choose another folder"
            )
        for left in folder.glob("**/.export-*"):  # what an ended run left half done
            shutil.rmtree(left)
        return False
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty, and not an export: choose a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(mark) as file:
        file.write(json.dumps(settings, indent=1).encode())
    return True


def _assets(
    corpus: Corpus, where: str | None, views: str | None, layout_name: str, cameras_only: bool
) -> Iterator[ExportAsset]:
    for found in rendered(corpus, where, views):
        names = (name for name in found.names() if not cameras_only or name == "cameras.json")
        members = {name: found.read(name) for name in names}
        yield ExportAsset(found.uid, found.plan["sha256"], found.plan["caption"], members, layout_name)


def _record(asset: ExportAsset, pattern: str, chosen: Layout) -> Exported:
    key = (asset.sha256 or asset.uid) if chosen.key_is_sha256 else asset.uid
    return Exported(asset.uid, key, pattern.format(uid=asset.uid, key=key, start=asset.uid[:2]), asset.caption or None)


def _write(asset: ExportAsset, chosen: Layout, folder: Path, pictures: bool) -> bool:
    """Whether the folder had to be made."""
    if folder.exists():
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=".export-", dir=folder.parent))
    try:
        chosen.write(asset, half, pictures)
        half.chmod(0o755)
        half.rename(folder)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    return True
