"""`publish`: a corpus as a dataset in a folder that the Hub, DuckDB and `datasets` read."""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dataengine._version import __version__
from dataengine.corpus.config import ViewSet
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.os_errors import explain
from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.publish.card import card
from dataengine.publish.croissant import croissant
from dataengine.publish.facts import Facts
from dataengine.publish.licences import check_licences, write_licences
from dataengine.publish.table import channels_of, row_of, schema, split_writers
from dataengine.publish.tokens import publish_tokens
from dataengine.publish.upload import repository_of, upload
from dataengine.render.views import parse_cameras
from dataengine.report import draw
from dataengine.report.asset import Asset, of_set, rendered
from dataengine.report.contact import contact_sheet
from dataengine.report.diagram import camera_diagram
from dataengine.sources.attribution import public_source
from dataengine.visible import counted

MARK = ".dataengine.json"
SHOWN = 40  # models on the contact sheet
OnAsset = Callable[[str, int], None]


def publish_folder(
    corpus: Corpus,
    folder: Path,
    *,
    name: str,
    where: str | None = None,
    views: str | None = None,
    unknown_licences: bool = False,
    non_commercial: bool = False,
    contact: str = "",
    on_asset: OnAsset = lambda uid, total: None,
) -> Facts:
    """Writes the dataset; what an earlier call wrote there is replaced, once the new one is whole.

    Args:
        corpus: rendered, wholly or in part.
        folder: new, empty, or published before.
        name: of the dataset, for its card: `owner/name`.
        where: SQL over the columns of `assets`.
        views: name of the view set; None: the first.
        unknown_licences, non_commercial: take along what is left out or refused otherwise.
        contact: where to ask that a model be taken out.
        on_asset: told each uid as it is written, and how many there are.

    Returns:
        What the card says. The same corpus gives the same bytes.

    Raises:
        UsageError: for a wrong condition, licences that were not asked for, a folder with something else in it, a
            corpus without views.
        DataengineError: if a shard cannot be read.
    """
    _check_folder(folder)
    corpus.check_models()
    view_set = corpus.config.sets[0] if views is None else corpus.config.view_set(views)
    condition = of_set(view_set, where)
    catalog = Catalog(corpus)
    selected = catalog.sql(f"SELECT licence, count(*) FROM renders WHERE {condition} GROUP BY 1").fetchall()
    if not selected:
        raise UsageError(f"{corpus.url} has no rendered assets" + (" that --where selects" if where else ""))
    counts = Counter[str | None](dict(selected))
    check_licences(counts, unknown=unknown_licences, non_commercial=non_commercial)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            facts = _write(corpus, catalog, half, name, view_set, where, counts, contact, on_asset)
            half.chmod(0o755)
            if folder.exists():
                shutil.rmtree(folder)
            half.rename(folder)
        finally:
            shutil.rmtree(half, ignore_errors=True)
    except OSError as e:
        raise UsageError(explain(e, str(folder))) from e
    return facts


def _check_folder(folder: Path) -> None:
    if folder.exists() and not (folder / MARK).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty, and no published dataset: choose a new folder")


def _write(
    corpus: Corpus,
    catalog: Catalog,
    folder: Path,
    name: str,
    view_set: ViewSet,
    where: str | None,
    licences: Counter[str | None],
    contact: str,
    on_asset: OnAsset,
) -> Facts:
    condition = of_set(view_set, where)
    first = next(rendered(corpus, where, view_set.name))
    facts = _facts(corpus, catalog, first, name, licences)
    total = licences.total()
    writers = split_writers(folder / "data" / facts.view_set, schema(facts.channels))
    shown: list[Asset] = []
    for asset in rendered(corpus, where, view_set.name):
        if channels_of(asset.names()) != facts.channels:
            raise UsageError(f"{asset.uid} has other channels than {first.uid}: render both with the same settings")
        row = row_of(asset, facts.channels)
        writers.add(str(asset.plan["split"]), row)
        facts.captioned += bool(row["caption"])
        facts.sources[public_source(str(asset.plan["source"]))] += 1
        if len(shown) < SHOWN:
            shown.append(asset)
        on_asset(asset.uid, total)
    writers.close()
    facts.splits = dict(writers.counts())
    facts.tokens = publish_tokens(corpus, catalog, folder / "tokens", view_set.stage, condition)
    columns = "uid, licence, title, author, page_url"
    rows = catalog.sql(f"SELECT {columns} FROM renders WHERE {condition} ORDER BY uid").to_arrow_table().to_pylist()
    write_licences(catalog, folder, f"uid IN (SELECT uid FROM renders WHERE {condition})", rows)
    contact_sheet(shown).save(folder / "contact_sheet.png")
    cameras = parse_cameras(first.read("cameras.json"))
    draw.framed(camera_diagram(cameras, float((first.result or {}).get("radius") or 0.5), 480)).save(folder / "rig.png")
    (folder / "README.md").write_text(card(facts, contact), encoding="utf-8")
    (folder / "croissant.json").write_text(json.dumps(croissant(facts, folder), indent=1), encoding="utf-8")
    (folder / MARK).write_text(json.dumps({"dataengine": __version__, "rows": facts.rows}))
    return facts


def _facts(corpus: Corpus, catalog: Catalog, first: Asset, name: str, licences: Counter[str | None]) -> Facts:
    header = json.loads(first.read("cameras.json"))
    statuses = f"""
        SELECT coalesce(error, ''), count(*) FROM renders
        WHERE view_set = '{first.view_set.name}' AND status IN ('failed', 'planned') GROUP BY 1
    """
    failures = Counter[str](dict(catalog.sql(statuses).fetchall()))
    planned = failures.pop("", 0)
    return Facts(
        name=name,
        view_set=first.view_set.name,
        channels=channels_of(first.names()),
        rig=header["rig"],
        look=header["look"],
        resolution=header["width"],
        views=len(header["views"]),
        version=__version__,
        licences=licences,
        failures=failures,
        planned=planned,
        pinned={public_source(s.spec): s.revision for s in corpus.config.sources},
    )


def publish_corpus(
    corpus: Corpus,
    target: str,
    *,
    where: str | None = None,
    views: str | None = None,
    dry_run: bool = False,
    unknown_licences: bool = False,
    non_commercial: bool = False,
    contact: str = "",
    on_asset: OnAsset = lambda uid, total: None,
) -> list[str]:
    """Publishes into a folder, or through a temporary one to `hf://datasets/OWNER/NAME`.

    Args:
        target: where; the others as for `publish_folder`.
        dry_run: what would be uploaded is listed, not uploaded.

    Returns:
        Lines that say what was done.

    Raises:
        UsageError, DataengineError: as `publish_folder` and `upload`.
    """
    chosen: dict[str, Any] = {
        "where": where,
        "views": views,
        "unknown_licences": unknown_licences,
        "non_commercial": non_commercial,
        "contact": contact,
        "on_asset": on_asset,
    }
    if not target.startswith("hf://"):
        folder = Path(target)
        facts = publish_folder(corpus, folder, name=folder.resolve().name, **chosen)
        return [f"wrote {counted(facts.rows, 'asset')} to {folder}"]
    repository = repository_of(target)
    with tempfile.TemporaryDirectory(prefix="dataengine-publish-") as temporary:
        folder = Path(temporary) / "dataset"
        facts = publish_folder(corpus, folder, name=repository, **chosen)
        changes = upload(folder, repository, dry_run=dry_run)
    verb = "would upload" if dry_run else "uploaded"
    if not changes.added and not changes.removed:
        return [f"{target} is up to date: {counted(facts.rows, 'asset')}, nothing to upload"]
    lines = [f"{verb} {counted(len(changes.added), 'file')} of {counted(facts.rows, 'asset')} to {target}"]
    if changes.removed:
        lines.append(f"{'would remove' if dry_run else 'removed'} {len(changes.removed)} files that are no longer part")
    return lines
