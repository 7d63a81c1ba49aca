"""Contact sheets: one asset with everything known of it, or many assets side by side."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from dataengine.render.views import Views, view_stem
from dataengine.report import draw
from dataengine.report.asset import Asset
from dataengine.report.diagram import camera_diagram

WIDTH = 1328
COLUMNS = 8
GAP = 8
MOST_VIEWS = 64
LOG_LINES = 20


def asset_sheet(asset: Asset, hide: Collection[str] = ()) -> Image.Image:
    """Views, depth, cameras and facts of one asset; for a failed one why, with what Blender said.

    Args:
        hide: labels of facts that are left out.
    """
    shown = [fact for fact in facts(asset) if fact[0] not in hide]
    blocks = [_heading(asset)]
    if asset.status == "ok":
        views = asset.views()
        blocks += _view_rows(views)
        said = {"caption"} | (set() if asset.stale else {"status"})  # by the heading
        shown = [fact for fact in shown if fact[0] not in said]
        place = next((i for i, (label, _) in enumerate(shown, 1) if label == "views"), len(shown))
        shown[place:place] = camera_facts(views)
        side = camera_diagram(views.cameras, float((asset.result or {}).get("radius") or 0.5), 300)
        rows = draw.table_block(shown, WIDTH - side.width - 24)
        blocks.append(draw.stack([rows, side], gap=24, across=True))
    else:
        blocks += _reason(asset)
        blocks.append(draw.table_block([f for f in shown if f[0] != "error"], WIDTH))
    return draw.framed(draw.stack(blocks, gap=14))


def facts(asset: Asset) -> list[tuple[str, str]]:
    """What is known of an asset, in the order in which one would ask; what is not known is left out."""
    plan, result = asset.plan, asset.result or {}
    place = f"shard {plan['shard']}, row {plan['row']}, {plan['split']} split, group {plan['group_id']}"
    rows: list[tuple[str, Any]] = [
        ("uid", asset.uid),
        ("status", asset.status + (" (stale: rendered from an older plan)" if asset.stale else "")),
        ("error", result.get("error") and f"{result['error']}: {result['message']}"),
        ("title", plan["title"]),
        ("caption", plan["caption"] or "none"),
        ("licence", plan["licence"] or "unknown"),
        ("author", plan["attribution"] or plan["author"]),
        ("tags", ", ".join(plan["tags"] or [])),
        ("file", f"{plan['uri']} ({plan['format']}, {_bytes(plan['bytes'])})"),
        ("place", place),
        ("view set", _set_among_others(asset)),
    ]
    if asset.status == "ok":
        rows += _rendered_facts(result)
    seconds = result.get("cpu_seconds")
    if seconds is not None:
        peak = f", {_bytes(result['peak_memory'])} at the highest" if result.get("peak_memory") else ""
        tries = f", {result['attempts']} tries" if (result.get("attempts") or 1) > 1 else ""
        rows.append(("cost", f"{seconds:.2f} CPU s, {result['wall_seconds']:.2f} s{peak}{tries}"))
    if asset.status == "ok":
        rows += [("tar", result["tar"]), ("Blender said", _tail(result.get("log"), 4))]
    return [(label, str(value)) for label, value in rows if value]


def _set_among_others(asset: Asset) -> str:
    """Which set is shown; empty where there is one."""
    others = [s.name for s in asset.corpus.config.sets if s.name != asset.view_set.name]
    return f"{asset.view_set.name} (there are also {', '.join(others)})" if others else ""


def _rendered_facts(r: Mapping[str, Any]) -> list[tuple[str, Any]]:
    faces = r.get("imported_face_count")
    shape = f"{faces:,} triangles, {r['imported_vertex_count']:,} vertices, " if faces is not None else ""
    objects = f"{r['object_count']} objects, " if r.get("object_count") is not None else ""
    error = r.get("depth_error")
    agreement = "not measurable"
    if error is not None:
        agreement = f"{100 * error:.3f} % of the object's size, {r['depth_error_footprint']:.2f} of a pixel's footprint"
    clipped, covered = r["clipped"], r["depth_coverage"]
    luminance = "no colour"
    if r["luminance_mean"] is not None:
        luminance = f"mean {_span(r['luminance_mean'], '{:.2f}')}, spread {_span(r['luminance_spread'], '{:.2f}')}"
    return [
        ("geometry", None if r["scale"] is None else f"{shape}{objects}up {r['up']}, scale {r['scale']:.6g}"),
        ("views", f"{r['num_views']} of {r['resolution']} x {r['resolution']} pixels"),
        ("coverage", r["coverage"] and _span(r["coverage"], "{:.1%}")),
        ("clipped", f"{sum(clipped)} border pixels in {sum(c > 0 for c in clipped)} views" if clipped else None),
        ("luminance", luminance),
        ("depth", covered and f"on {_span(covered, '{:.1%}')} of the object; neighbours disagree by {agreement}"),
        ("normals", _normals(r)),
        ("albedo", r.get("albedo_clipped") and f"{r['albedo_clipped']:.1%} of the object outside 0 to 1"),
        (
            "ids",
            r.get("ids_seen") and f"{r['ids_seen']} seen; neighbours disagree on {_share(r.get('id_disagreement'))}",
        ),
        ("missing textures", ", ".join(r["missing_textures"] or [])),
        ("complaints", "; ".join(r.get("complaints") or [])),
    ]


def camera_facts(views: Views) -> list[tuple[str, str]]:
    """How the cameras see: angle or scale, intrinsics in pixels, distance from the world's middle; spans over views."""
    width = views.depth.shape[-1]
    rows = []
    for label, orthographic in (("cameras", False), ("orthographic", True)):
        cameras = [camera for camera in views.cameras if camera.orthographic == orthographic]
        if not cameras:
            continue
        fx, cx, cy = ([c.K[row][column] for c in cameras] for row, column in ((0, 0), (0, 2), (1, 2)))
        far = [float(np.linalg.norm(np.array(c.c2w)[:3, 3])) for c in cameras]
        if orthographic:
            seen = f"{_span([width / f for f in fx], '{:.4g}')} units across, {_span(fx, '{:.4g}')} pixels per unit"
        else:
            angles = [float(np.degrees(2 * np.arctan(width / 2 / f))) for f in fx]
            seen = f"field of view {_span(angles, '{:.4g}')}° across, focal length {_span(fx, '{:.4g}')} pixels"
        middle = f"principal point {_span(cx, '{:.4g}')}, {_span(cy, '{:.4g}')}"
        rows.append((label, f"{seen}, {middle}, {_span(far, '{:.3g}')} units from the middle"))
    return rows


def _normals(r: Mapping[str, Any]) -> str | None:
    angles = [r.get("normal_depth_angle"), r.get("shading_normal_angle")]
    if all(angle is None for angle in angles):
        return None
    depth, shading = ("not measurable" if angle is None else f"{angle:.2f}°" for angle in angles)
    return f"triangles' against the depth's {depth}, shading against triangles' {shading}"


def _share(value: float | None) -> str:
    return "points that cannot be compared" if value is None else f"{value:.2%} of the points"


def _heading(asset: Asset) -> Image.Image:
    colour = {"ok": draw.GOOD, "failed": draw.BAD}.get(asset.status, draw.NOTE)
    badge = asset.status + (" (stale)" if asset.stale else "")
    image = Image.new("RGB", (WIDTH, 62), draw.PAPER)
    pen = ImageDraw.Draw(image)
    badge_width = draw.width_of(badge, 16) + 24
    title = draw.wrap(asset.title, 26, WIDTH - badge_width - 20)[0]
    pen.text((0, 0), title, draw.INK, draw.font(26))
    caption = draw.wrap(asset.plan["caption"] or "no caption", 15, WIDTH - badge_width - 20)[0]
    pen.text((0, 36), caption, draw.FAINT, draw.font(15))
    image.paste(draw.pill(badge_width, 28, colour), (WIDTH - badge_width, 4))
    pen.text((WIDTH - badge_width + 12, 8), badge, draw.PAPER, draw.font(16))
    pen.line((0, 61, WIDTH, 61), draw.RULE, 1)
    return image


def _view_rows(views: Views) -> list[Image.Image]:
    count = len(views.cameras)
    shown = list(range(count))
    if count > MOST_VIEWS:
        shown = [round(i) for i in np.linspace(0, count - 1, MOST_VIEWS)]
    columns = min(COLUMNS, len(shown))
    side = min(256, (WIDTH - GAP * (columns - 1)) // columns)
    low, high = depth_range(views.depth)
    blocks = []
    for start in range(0, len(shown), columns):
        cells = [_view_cell(views, i, side, low, high) for i in shown[start : start + columns]]
        blocks.append(draw.stack(cells, GAP, across=True))
    if len(shown) < count:
        blocks.append(draw.text_block(f"{len(shown)} of {count} views, evenly chosen", WIDTH, 13, draw.FAINT))
    blocks.append(_legend(low, high))
    return blocks


def _view_cell(views: Views, i: int, side: int, low: float, high: float) -> Image.Image:
    camera = views.cameras[i]
    name = f" {camera.name}" if camera.name else ""
    label = f"{view_stem(i, len(views.cameras))}{name}  {camera.azimuth:.4g}° / {camera.elevation:.4g}°"
    pictures = [draw.over_checker(Image.fromarray(views.rgba[i]))] if views.rgba is not None else []
    pictures += [depth_picture(views.depth[i], low, high)]
    there = views.depth[i] > 0 if views.rgba is None else views.rgba[i, ..., 3] > 0
    pictures += [shown(name, array[i], there) for name, array in views.channels.arrays.items()]
    words = draw.text_block(label, side, 12, draw.FAINT)
    return draw.stack([words, *(draw.fit(picture, side) for picture in pictures)], gap=3)


def depth_range(depth: npt.NDArray[np.float32]) -> tuple[float, float]:
    known = depth[depth > 0]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)


def depth_picture(depth: npt.NDArray[np.float32], low: float, high: float) -> Image.Image:
    """Near is bright; over a checkerboard where there is none."""
    return _where(depth > 0, draw.colour_map(1 - (depth - low) / max(high - low, 1e-9)))


def shown(name: str, view: npt.NDArray[Any], there: npt.NDArray[np.bool_] | None) -> Image.Image:
    """A channel for the eye: normals as 0.5 n + 0.5, ids as colours far apart, over a checkerboard where there is none.

    Args:
        name: of the channel.
        view: as `decode_channel` gives it.
        there: (H, W): where the view shows anything. Albedo alone needs it: black is a colour, too.
    """
    if name == "normal":
        return _where(view.any(-1), (view * 127.5 + 128).astype(np.uint8))
    if name == "id":  # by the golden ratio: numbers that follow one another lie far apart
        return _where(view > 0, draw.colour_map(view * 0.618034 % 1))
    return _where(view[..., 0] > 0 if there is None or name == "orm" else there, view)


def _where(there: npt.NDArray[np.bool_], colours: npt.NDArray[np.uint8]) -> Image.Image:
    return draw.over_checker(Image.fromarray(np.dstack([colours, there.astype(np.uint8) * 255])))


def _legend(low: float, high: float) -> Image.Image:
    image = Image.new("RGB", (WIDTH, 22), draw.PAPER)
    pen = ImageDraw.Draw(image)
    bar = 260
    ramp = draw.colour_map(np.linspace(1, 0, bar))[None].repeat(12, axis=0)
    left = f"depth {low:.3f}"
    pen.text((0, 2), left, draw.FAINT, draw.font(13))
    x = draw.width_of(left, 13) + 10
    image.paste(Image.fromarray(ramp), (x, 5))
    words = f"{high:.3f} units of the normalised object (planar z); labels are azimuth / elevation"
    pen.text((x + bar + 10, 2), words, draw.FAINT, draw.font(13))
    return image


def _reason(asset: Asset) -> list[Image.Image]:
    result = asset.result
    if result is None:
        return [draw.text_block("Not rendered yet: `dataengine render` has not committed its shard.", WIDTH, 16)]
    blocks = [draw.text_block(f"{result['error']}: {result['message']}", WIDTH, 18, draw.BAD)]
    log = _tail(result.get("log"), LOG_LINES)
    if log:
        ground = (246, 246, 248)
        words = draw.text_block(log, WIDTH - 24, 13, draw.INK, ground)
        panel = Image.new("RGB", (WIDTH, words.height + 20), ground)
        panel.paste(words, (12, 10))
        blocks += [draw.text_block("The last that Blender said:", WIDTH, 13, draw.FAINT), panel]
    return blocks


def _span(values: Sequence[float], form: str) -> str:
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} to {high}"


def _bytes(count: int | None) -> str:
    if count is None:
        return "size unknown"
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def _tail(log: str | None, lines: int) -> str:
    return "\n".join((log or "").strip().splitlines()[-lines:])
