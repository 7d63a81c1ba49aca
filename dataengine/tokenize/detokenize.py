"""From tokens back to pictures: what a shard's codes still know of the views."""

import difflib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import Fragment, list_fragments, list_stages
from dataengine.corpus.shards import read_member
from dataengine.errors import DataengineError, UsageError
from dataengine.tokenize.checkpoint import PUBLISHED, load, shipped_as
from dataengine.tokenize.device_tokenizer import DeviceTokenizer
from dataengine.tokenize.model import Tokenizer
from dataengine.tokenize.spec import TokenizerSpec
from dataengine.tokenize.views import COLOUR, read_views

COLUMNS = 8
HEADER = 18
LINE = 14
Together = Callable[[npt.NDArray[Any]], npt.NDArray[np.uint8]]
GAIN = 4  # of the difference, which would be too dark to see


def tokens_of(corpus: Corpus, shard: int, tokenizer: str | None = None) -> Fragment:
    """The tokens fragment of a shard.

    Args:
        tokenizer: the tokens' name; may be left out where the corpus has one kind only.

    Raises:
        UsageError: if there is none, or the name is needed.
    """
    names = [s.removeprefix("tokens/") for s in list_stages(corpus.store) if s.startswith("tokens/")]
    if tokenizer is None and len(names) > 1:
        raise UsageError(f"{corpus.url} has tokens of {', '.join(names)}: choose one with --tokenizer")
    if tokenizer is not None and names and tokenizer not in names:
        near = difflib.get_close_matches(tokenizer, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"{corpus.url} has no tokens called {tokenizer!r}{hint} (it has {', '.join(names)})")
    name = tokenizer or next(iter(names), "small")
    fragment = corpus.fragment(f"tokens/{name}", shard)
    if fragment is None:
        raise UsageError(f"shard {shard} of {corpus.url} has no tokens of {name}; run `dataengine tokenize` first")
    return fragment


def weights_for(corpus: Corpus, tokenizer: str) -> str | None:
    """The shipped weights that a corpus's tokens of that tokenizer were made with; None if it has none, or of others.

    A corpus goes on with the weights it was begun with: codes of others mean something else. Where they do not ship,
    `check_weights` says so once a tokenizer is loaded.
    """
    return shipped_as(_weights_of_tokens(corpus, tokenizer))


def check_weights(corpus: Corpus, tokenizer: TokenizerSpec) -> None:
    """For a tokenizer whose weights nobody named: are they those of the corpus's tokens?

    Raises:
        UsageError: if those were made with others. They are never made again unasked.
    """
    name, before = tokenizer.name, _weights_of_tokens(corpus, tokenizer.name)
    if before not in (None, tokenizer.weights_sha256):
        usual = PUBLISHED.get(name, name)
        raise UsageError(
            f"the tokens of {name} in {corpus.url} were made with other weights ({str(before)[:16]}…): name their file "
            f"with --weights, or make others beside them: --weights {usual} --name NAME"
        )


def _weights_of_tokens(corpus: Corpus, tokenizer: str) -> str | None:
    """SHA-256 of the weights that made a corpus's tokens of that tokenizer; None if it has none."""
    for stage in list_stages(corpus.store):
        if stage.startswith("tokens/") and (shards := list_fragments(corpus.store, stage)):
            first = corpus.fragment(stage, min(shards))
            spec = first.settings.get("tokenizer", {}) if first is not None else {}
            if spec.get("name") == tokenizer:
                return str(spec["weights_sha256"])
    return None


def load_for(fragment: Fragment, weights: str | Path | None = None) -> Tokenizer:
    """The tokenizer that made a fragment.

    Raises:
        UsageError: if the weights are others than those.
    """
    spec = fragment.settings["tokenizer"]
    tokenizer = load(spec["name"], weights or shipped_as(spec["weights_sha256"]), use=spec["weights"])
    if tokenizer.spec.weights_sha256 != spec["weights_sha256"]:
        raise UsageError(
            f"these tokens were made with other weights of {spec['name']} ({spec['weights_sha256']}); "
            f"name that file with --weights"
        )
    return tokenizer


def detokenize(
    corpus: Corpus, fragment: Fragment, uid: str, compute: DeviceTokenizer, together: Together | None = None
) -> Image.Image:
    """A sheet of one asset: original, decoded, and their difference, four times as strong.

    Args:
        fragment: from `tokens_of`, of the asset's shard.
        uid: in full.
        compute: with the tokenizer that made the fragment, see `load_for`.
        together: decodes the views of the asset together, from codes (V, h, w) to (V, H, W, 3) uint8; the sheet then
            has what `compute` decodes as a row of its own. None: `compute` alone, view by view.

    Raises:
        UsageError: if the asset has no tokens.
        DataengineError: if its tokens or views cannot be read.
    """
    row = next((r for r in fragment.table.to_pylist() if r["uid"] == uid), None)
    if row is None or row["status"] != "ok":
        why = f": {row['error']}, {row['message']}" if row else ""
        raise UsageError(f"asset {uid} has no tokens of {fragment.settings['tokenizer']['name']}{why}")
    member = next(m for m in row["members"] if m["name"] == "tokens.npy")
    codes = np.load(io.BytesIO(read_member(corpus.store, row["tar"], member)), allow_pickle=False)
    made_from = fragment.head.get("made_from") or "views"
    views = corpus.fragment(corpus.views_stage if made_from == "views" else made_from, fragment.shard)
    original = next((r for r in views.table.to_pylist() if r["uid"] == uid), None) if views else None
    if original is None or original["status"] != "ok":
        raise DataengineError(f"asset {uid} has tokens but no views any more; tokenize its shard again")
    spec = fragment.settings["tokenizer"]
    red, green, blue = spec["background"]
    rgb = read_views(
        corpus.store, original, (red, green, blue), spec.get("resolution"), spec.get("channel", COLOUR)
    ).rgb
    decoded = compute.decode_array(codes)
    psnr = row["psnr"] or [None] * len(rgb)
    object_psnr = row["psnr_object"] or [None] * len(rgb)
    notes = [
        "" if p is None else f"{p:.1f} dB" + ("" if o is None else f", object {o:.1f}")
        for p, o in zip(psnr, object_psnr, strict=True)
    ]
    if together is None:
        return sheet(rgb, {"decoded": decoded}, notes)
    return sheet(rgb, {"decoded alone": decoded, "together": together(codes)}, notes)


def sheet(
    original: npt.NDArray[np.uint8], decoded: Mapping[str, npt.NDArray[np.uint8]], notes: Sequence[str]
) -> Image.Image:
    """Rows of pictures, (V, H, W, 3) uint8 each, in blocks of eight views, with a note above each view: the original,
    and each decoding by its name, followed by its difference from the original."""
    rows = [("original", original)]
    for name, pictures in decoded.items():
        difference = np.abs(original.astype(np.int16) - pictures) * GAIN
        rows.append((name, pictures))
        rows.append((f"difference, {GAIN} times", np.minimum(difference, 255).astype(np.uint8)))
    count, height, width = original.shape[:3]
    columns = min(count, COLUMNS)
    font = ImageFont.load_default(11)
    narrow = any(font.getlength(note) > width - 4 for note in notes)
    notes = [note.replace(", ", "\n") for note in notes] if narrow else notes
    header = HEADER + (LINE if narrow else 0)
    block = header + len(rows) * height
    margin = round(max(font.getlength(label) for label, _ in rows)) + 10
    picture = Image.new("RGB", (margin + columns * width, -(-count // columns) * block), "white")
    pen = ImageDraw.Draw(picture)
    for view in range(count):
        left, top = margin + view % columns * width, view // columns * block
        pen.text((left + 2, top + 3), notes[view], "black", font)
        for i, (label, images) in enumerate(rows):
            picture.paste(Image.fromarray(images[view]), (left, top + header + i * height))
            if view % columns == 0:
                pen.text((4, top + header + i * height + 4), label, "black", font)
    return picture
