"""The columns of the plan and of the fragments. docs/columns.md explains each to a reader."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

MEMBERS = pa.list_(
    pa.struct([("name", pa.string()), ("offset", pa.int64()), ("size", pa.int64()), ("sha256", pa.string())])
)

# Members of a tokens shard, and what their ranges are called in TOKENS.
TOKEN_MEMBERS = {"tokens.npy": "tokens", "cameras.npy": "cameras", "txt": "caption"}

PLAN = pa.schema(
    [
        ("uid", pa.string()),  # 32 hex digits of the hash of the main file and every file it refers to
        # 'planned'; 'duplicate': the same bytes as another row, never rendered; 'removed': taken out, a tombstone
        ("status", pa.string()),
        ("reason", pa.string()),  # why not planned (names the row that is kept); null for planned rows
        ("removed_at", pa.timestamp("us", tz="UTC")),  # of a tombstone; null for others
        ("shard", pa.int32()),  # null unless planned
        ("row", pa.int32()),  # position within the shard
        ("shard_input", pa.string()),  # hash of the shard's assets; what a fragment of it names begins with it
        ("source", pa.string()),  # as given to --source, e.g. local:models
        ("uri", pa.string()),  # where the main file is: path or URL
        ("dependencies", pa.list_(pa.string())),  # files that the main file refers to, relative to its folder
        ("format", pa.string()),  # glb gltf obj fbx dae stl ply usd blend
        ("sha256", pa.string()),  # of the main file; null where the source does not say and it is not fetched yet
        ("bytes", pa.int64()),  # main file and dependencies
        ("face_count", pa.int64()),  # triangles or polygons as the file declares them; null = not known before import
        ("vertex_count", pa.int64()),
        ("material_count", pa.int64()),
        ("texture_count", pa.int64()),
        ("animation_count", pa.int64()),
        ("up", pa.string()),  # 'Y' or 'Z'; null: the format's own rule
        ("up_source", pa.string()),  # 'format', 'declared', 'source' or 'guessed'
        ("title", pa.string()),
        ("author", pa.string()),
        ("page_url", pa.string()),
        ("licence", pa.string()),  # SPDX-like, lower case (cc0-1.0, cc-by-4.0 …); null = unknown
        ("attribution", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("caption", pa.string()),  # null = none
        ("group_id", pa.string()),  # the same model in several formats shares it; splits follow it
        ("split", pa.string()),  # train, val or test: a stable hash of group_id
    ]
)

CHANNELS = ("normal", "albedo", "orm", "id")
"""What a view may have beside colour and depth, in the order of its members."""

# Differ between two runs that made the same bytes; every other column is reproducible.
VOLATILE = (
    "attempts",
    "log",
    "complaints",
    "cpu_seconds",
    "wall_seconds",
    "import_seconds",
    "render_seconds",
    "encode_seconds",
    "check_seconds",
    "peak_memory",
    "finished_at",
    "host",
)

_RESULT_HEAD = [
    ("uid", pa.string()),
    ("shard", pa.int32()),
    ("row", pa.int32()),
    ("status", pa.string()),  # 'ok' or 'failed'
    ("error", pa.string()),  # an errors.ErrorCode, null when ok
    ("message", pa.string()),  # one line for a person
    ("failed_in", pa.string()),  # the stage that could make nothing of it: this one, or one before; null when ok
    ("log", pa.string()),  # the last lines that Blender printed (failures, and complaints of good ones)
    ("tar", pa.string()),  # the shard's tar, relative to the corpus
    ("members", MEMBERS),  # byte ranges within it; empty when failed
]
_RESULT_TAIL = [
    ("attempts", pa.int32()),
    ("cpu_seconds", pa.float64()),  # all processes, this asset
    ("wall_seconds", pa.float64()),
    ("peak_memory", pa.int64()),  # bytes, of the Blender process
    ("finished_at", pa.timestamp("us", tz="UTC")),
    ("host", pa.string()),
    # the same in every row: with them SQL sees what is current without opening each file's metadata
    ("made_from", pa.string()),  # the stage that it was made from; null: the plan
    ("input", pa.string()),  # hash of what it was made from: plan.shard_input, or that stage's fragment
    ("spec", pa.string()),  # hash of what else decides the results, such as the tokenizer; null where nothing does
    ("fragment", pa.string()),  # this fragment's own hash, without its volatile columns; the next stage's input
]


def result_schema(columns: pa.Schema) -> pa.Schema:
    """The columns of a stage's fragments: its own between those that every stage has."""
    return pa.schema([*_RESULT_HEAD, *columns, *_RESULT_TAIL])


VIEW_COLUMNS = pa.schema(
    [
        ("num_views", pa.int32()),
        ("resolution", pa.int32()),
        ("looks", pa.list_(pa.string())),  # as drawn; the first is that of NN.rgba.png
        # what Blender saw after import
        ("imported_face_count", pa.int64()),  # triangles, visible, modifiers applied
        ("imported_vertex_count", pa.int64()),
        ("object_count", pa.int32()),
        ("up", pa.string()),  # the up axis that was used
        ("scale", pa.float64()),  # normalised = scale * original + offset
        ("offset", pa.list_(pa.float64())),  # x, y, z
        ("radius", pa.float64()),  # bounding sphere around the origin, normalised units
        ("missing_textures", pa.list_(pa.string())),
        ("complaints", pa.list_(pa.string())),  # what Blender complained of, one line each
        # where each view was taken from, degrees; azimuth 0 is on +x, counter-clockwise seen from above
        ("azimuth", pa.list_(pa.float32())),
        ("elevation", pa.list_(pa.float32())),
        # checks, one value per view unless said
        ("coverage", pa.list_(pa.float32())),  # share of pixels with alpha above 0.5
        ("clipped", pa.list_(pa.int32())),  # covered pixels on the image's border
        ("luminance_mean", pa.list_(pa.float32())),  # on the object, linear light
        ("luminance_spread", pa.list_(pa.float32())),  # standard deviation on the object
        ("depth_coverage", pa.list_(pa.float32())),  # share of covered pixels that have depth
        ("view_depth_error", pa.list_(pa.float32())),  # median disagreement with the neighbours, see depth_error
        (
            "depth_error",
            pa.float32(),
        ),  # asset: median disagreement / object's size; null = not measurable
        ("depth_error_footprint", pa.float32()),  # the same in units of the pixel's footprint
        # channels, one value per asset; null without the channel, or where too few pixels could be measured
        ("normal_depth_angle", pa.float32()),  # degrees, median: triangles' normals and what the depth says they are
        ("shading_normal_angle", pa.float32()),  # degrees, median: shading normals and triangles' normals
        ("albedo_clipped", pa.float32()),  # share of the object's pixels whose base colour was outside 0 … 1
        ("id_disagreement", pa.float32()),  # share of the surface points that have another id in a neighbouring view
        ("ids_seen", pa.int32()),  # different ids in all views
        # timings
        ("import_seconds", pa.float64()),
        ("render_seconds", pa.float64()),
        ("check_seconds", pa.float64()),
        ("encode_seconds", pa.float64()),
    ]
)
VIEWS = result_schema(VIEW_COLUMNS)

TOKEN_COLUMNS = pa.schema(
    [
        ("num_views", pa.int32()),
        ("grid", pa.list_(pa.int32())),  # tokens per view: rows, columns
        # the byte ranges of `members` once more, flat: a trainer's index reads millions of them; null = no such member
        *((f"{name}_{what}", pa.int64()) for name in TOKEN_MEMBERS.values() for what in ("offset", "size")),
        ("caption_hash", pa.uint64()),  # first 64 bits of the SHA-256 of the caption in the tar; null = not known
        # checks
        ("psnr", pa.list_(pa.float32())),  # dB, round trip a view: the ceiling of any generator on these tokens
        ("ssim", pa.list_(pa.float32())),
        ("psnr_object", pa.list_(pa.float32())),  # dB on the pixels with alpha > 0
        ("distinct_codes", pa.int32()),
        ("background_share", pa.float32()),  # share of tokens whose patch is background only
        ("encode_seconds", pa.float64()),
        ("check_seconds", pa.float64()),
    ]
)
TOKENS = result_schema(TOKEN_COLUMNS)


def token_ranges(members: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The flat byte ranges of a row of TOKENS, and the hash of its caption, from its `members`."""
    named = [(TOKEN_MEMBERS[m["name"]], m) for m in members if m["name"] in TOKEN_MEMBERS]
    ranges = {f"{name}_{what}": m[what] for name, m in named for what in ("offset", "size")}
    hashes = {f"{name}_hash": int(m["sha256"][:16], 16) for name, m in named if name == "caption"}
    return ranges | hashes
