"""What the page of one asset says, a shard at a time."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from dataengine.corpus.config import ViewSet
from dataengine.corpus.corpus import Corpus
from dataengine.render.blender.protocol import Camera
from dataengine.render.views import parse_cameras
from dataengine.report.asset import Asset
from dataengine.report.contact import channels_of
from dataengine.report.sheet import LOG_LINES, MOST_VIEWS, facts
from dataengine.report.site.columns import script
from dataengine.report.site.tokens import DecodedTokens, ShardTokens
from dataengine.sources.attribution import licence_url
from dataengine.sources.licences import is_non_commercial


def shard_assets(corpus: Corpus, shard: int, view_set: ViewSet) -> list[Asset]:
    """The assets of a shard in a view set, in order."""
    fragment = corpus.fragment(view_set.stage, shard)
    plan = corpus.plan(shard).to_pylist()
    rows = {row["uid"]: row for row in fragment.table.to_pylist()} if fragment else {}
    stale = fragment is not None and fragment.input != plan[0]["shard_input"] + view_set.input
    return [Asset(corpus, row, view_set, rows.get(row["uid"]), stale) for row in plan]


def shown_views(count: int) -> list[int]:
    """The views that are shown: all, or as many as a page holds, evenly chosen."""
    return list(range(count)) if count <= MOST_VIEWS else [round(i) for i in np.linspace(0, count - 1, MOST_VIEWS)]


def rows_script(corpus: Corpus, shard: int, *, pictures: bool, decoded: DecodedTokens | None = None) -> str:
    """The file of a shard's rows: uid → what its page shows, and the cameras, those that many assets share once.

    Cameras are read from the members where pictures are; `decoded`: also what there is of tokens.
    """
    found: dict[str, Any] = {}
    cameras: dict[tuple[tuple[float, ...], ...], int] = {}
    for view_set in corpus.config.sets:
        tokens = decoded.of(view_set, shard) if decoded and pictures else []
        for asset in shard_assets(corpus, shard, view_set):
            about = found.setdefault(asset.uid, _asset(asset))
            said = {tuple(fact) for fact in about["facts"]}
            of_set = _set(asset, pictures, tokens)
            if "cameras" in of_set:
                of_set["cameras"] = cameras.setdefault(of_set["cameras"], len(cameras))
            of_set["facts"] = [fact for fact in facts(asset) if fact not in said] if about["sets"] else []
            about["sets"].append(of_set)
    return script("report.rows", shard, found, list(cameras))


def _asset(asset: Asset) -> dict[str, Any]:
    plan = asset.plan
    licence = plan["licence"]
    page = plan["page_url"]
    return {
        "facts": facts(asset),
        "licence": licence,
        "licence_url": licence_url(licence) if licence else None,
        "non_commercial": is_non_commercial(licence),
        "page_url": page if page and re.match(r"https?://", page) else None,
        "credit": plan["attribution"] or plan["author"],
        "sets": [],
    }


def _set(asset: Asset, pictures: bool, tokens: Sequence[ShardTokens]) -> dict[str, Any]:
    result = asset.result or {}
    ok = asset.status == "ok"
    views = shown_views(int(result["num_views"])) if ok else []
    about: dict[str, Any] = {"name": asset.view_set.name, "status": asset.status, "views": len(views)}
    if result.get("error"):
        log = "\n".join((result.get("log") or "").strip().splitlines()[-LOG_LINES:])
        about |= {"error": result["error"], "message": result["message"], "log": log}
    if ok:
        azimuth, elevation = result.get("azimuth") or [], result.get("elevation") or []
        about["angles"] = [[round(azimuth[v], 2), round(elevation[v], 2)] for v in views if v < len(azimuth)]
    if ok and pictures:
        about["channels"] = channels_of(asset.view_set)
        cameras = parse_cameras(asset.read("cameras.json"))
        about["tokens"] = [found for each in tokens if (found := each.about(asset.uid, views))]
        about["no_tokens"] = [each.name for each in tokens if not each.has(asset.uid)]
        about["cameras"] = tuple(_camera(cameras[v], int(result["resolution"])) for v in views)
        about["radius"] = float(result.get("radius") or 0.5)
        about["angles"] = [[round(cameras[v].azimuth, 2), round(cameras[v].elevation, 2)] for v in views]
    return about


def _camera(camera: Camera, side: int) -> tuple[float, ...]:
    """c2w's upper three rows, then the image's left, right, top and bottom edge, then 1 for parallel rays, else 0.

    Edges are in camera axes (OpenCV's) on the plane at depth 1; of parallel rays in world units.
    """
    (fx, _, cx), (_, fy, cy), _ = camera.K
    edges = (-cx / fx, (side - cx) / fx, -cy / fy, (side - cy) / fy)
    numbers = [*(x for row in camera.c2w[:3] for x in row), *edges, camera.orthographic]
    return tuple(round(float(x), 4) + 0.0 for x in numbers)
