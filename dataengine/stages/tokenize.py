"""The tokens stage: the views of each asset → discrete codes.

    <uid>.tokens.npy    (views, h, w), the smallest unsigned dtype that holds the codebook
    <uid>.cameras.npy   (views, 30) float32, see views.CAMERA_COLUMNS
    <uid>.txt           the caption, where there is one

The codes of an asset depend on its own pixels only, so a killed run ends in the same tar, byte for byte.
"""

import difflib
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from dataengine.corpus.config import RenderConfig
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import spec_hash
from dataengine.corpus.result import Result
from dataengine.corpus.schema import TOKEN_COLUMNS
from dataengine.errors import AssetFailure, DataengineError, ErrorCode, UsageError
from dataengine.machine import peak_memory, usable_cores
from dataengine.stages.stage import Restart, Row, Stage, input_stage
from dataengine.stages.token_names import tokens_name
from dataengine.tokenize import load
from dataengine.tokenize.device_tokenizer import DeviceTokenizer, pick_device
from dataengine.tokenize.images import Colour
from dataengine.tokenize.model import check_size
from dataengine.tokenize.spec import TokenizerSpec
from dataengine.tokenize.views import CAMERA_COLUMNS, COLOUR, COLOUR_LIKE, AssetViews, npy, read_views

WHITE: Colour = (255, 255, 255)
READERS = 4  # threads that read and decode views while a GPU encodes; PNGs decode without the interpreter's lock


@dataclass
class TokenStage(Stage):
    """Encodes the views of a corpus; see `token_stage` and `TokenStage.on`.

    Attributes:
        tokenizer: with the background that views are composited over, the side that they are scaled down to, and the
            channel of them that is encoded.
        open: puts the tokenizer on its device when the stage starts.
        checks: measure the round trip; it costs as much again as encoding. Without, those columns are null.
        workers: threads that read views, and on the CPU also encode them.
        name: `tokens/<name>`; the tokenizer's, unless another is chosen.
        made_from: the stage of a view set; `views`: of the corpus's only one.
    """

    schema = TOKEN_COLUMNS
    keeps_gpu = True

    tokenizer: TokenizerSpec
    open: Callable[[], DeviceTokenizer] = field(compare=False)
    checks: bool = True
    workers: int = field(default_factory=lambda: max(READERS, usable_cores()))
    name: str = ""
    made_from: str | None = "views"
    _compute: DeviceTokenizer | None = field(default=None, init=False, compare=False, repr=False)
    _corpus: Corpus | None = field(default=None, init=False, compare=False, repr=False)

    @classmethod
    def on(
        cls,
        compute: DeviceTokenizer,
        *,
        background: Colour = WHITE,
        resolution: int | None = None,
        channel: str = COLOUR,
        checks: bool = True,
    ) -> "TokenStage":
        """With a tokenizer that is on its device already."""
        spec = replace(compute.spec, background=background, resolution=resolution, channel=channel)
        return cls(spec, lambda: compute, checks)

    def __post_init__(self) -> None:
        self.name = self.name or f"tokens/{self.tokenizer.name}"

    def of(self, corpus: Corpus, views: str | None = None, name: str | None = None) -> "TokenStage":
        """The same, of a view set of a corpus.

        Args:
            views: name of the set; None: the only one.
            name: of the tokens; None: see token_names.tokens_name.

        Raises:
            UsageError: if there is no such set, its views do not fit the tokenizer, or the name has other tokens.
        """
        view_set = corpus.config.view_set(views)
        check_views_fit(self.tokenizer, view_set.render)
        channel, there = self.tokenizer.channel, (COLOUR, *view_set.render.channels)
        known = [name for name in COLOUR_LIKE if name in there]
        if channel not in known:
            near = difflib.get_close_matches(channel, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(
                f"view set {view_set.name} has no channel {channel!r} of colours{hint} (it has {', '.join(known)})"
            )
        stage = f"tokens/{tokens_name(corpus, self.tokenizer, view_set, name)}"
        return replace(self, name=stage, made_from=view_set.stage)

    @property
    def spec(self) -> str | None:
        return spec_hash(self.tokenizer.as_dict())

    @property
    def resume_key(self) -> Any:
        # Another number of pixels per call may give other codes.
        return None if self._compute is None else [self._device(self._compute), self.checks]

    def start(self, corpus: Corpus) -> None:
        if (view_set := corpus.config.set_of(str(input_stage(corpus, self)))) is not None:
            check_views_fit(self.tokenizer, view_set.render)
        self._compute, self._corpus = self.open(), corpus
        self._clock, self._cpu = threading.Lock(), time.process_time()
        self._lock = threading.Lock() if self._compute.device.type != "cpu" else nullcontext()

    def stop(self) -> None:
        self._compute = None

    def settings(self, shard: int) -> dict[str, Any]:
        compute, corpus = self._started()
        found: dict[str, Any] = {
            "tokenizer": self.tokenizer.as_dict(),
            "compute": self._device(compute),
            "cameras": list(CAMERA_COLUMNS),
        }
        if self.tokenizer.dtype != "float32":
            found["agreement_with_float32"] = self._agreement(compute, corpus, shard)
        return found

    def process(self, row: Row) -> Result:
        """From a row of the views fragment to its codes."""
        compute, corpus = self._started()
        asset = self._read(corpus, row)
        try:
            with self._lock:
                columns, members = self._encode(asset, compute)
        except (RuntimeError, MemoryError) as e:
            if not isinstance(e, torch.OutOfMemoryError | MemoryError) and "allocate memory" not in str(e):
                raise  # the CPU's allocator has no error of its own
            self._halve(compute, asset, e)
        columns["cpu_seconds"] = self._cpu_since()
        columns["peak_memory"] = peak_memory()
        return Result(columns, members)

    def _started(self) -> tuple[DeviceTokenizer, Corpus]:
        if self._compute is None or self._corpus is None:
            raise DataengineError(f"the stage {self.name} has not been started, or was stopped")
        return self._compute, self._corpus

    def _cpu_since(self) -> float:
        """Of all threads since the last asset was finished, so that the assets add up to what the run took."""
        with self._clock:
            now, before = time.process_time(), self._cpu
            self._cpu = now
        return now - before

    def _device(self, compute: DeviceTokenizer) -> dict[str, Any]:
        return {"device": compute.device.type, "pixels": compute.pixels, "torch": torch.__version__}

    def _read(self, corpus: Corpus, row: Row) -> AssetViews:
        try:
            spec = self.tokenizer
            asset = read_views(corpus.store, row, spec.background or WHITE, spec.resolution, spec.channel)
            check_size(self.tokenizer, *asset.rgb.shape[1:3])
            return asset
        except UsageError as e:
            raise AssetFailure(ErrorCode.MALFORMED, str(e)) from e

    def _encode(self, asset: AssetViews, compute: DeviceTokenizer) -> tuple[dict[str, Any], dict[str, bytes]]:
        started = time.monotonic()
        on_device = compute.encode(asset.rgb)
        codes = on_device.cpu().numpy()
        encoded = time.monotonic()
        members = {"tokens.npy": npy(codes.astype(compute.spec.token_dtype)), "cameras.npy": npy(asset.cameras)}
        if asset.caption is not None:
            members["txt"] = asset.caption
        count, height, width = codes.shape
        patches = asset.covered.reshape(count, height, compute.spec.factor, width, compute.spec.factor)
        columns: dict[str, Any] = {
            "num_views": count,
            "grid": [height, width],
            "distinct_codes": len(np.unique(codes)),
            "background_share": float((~patches.any((2, 4))).mean()),
            "encode_seconds": encoded - started,
        }
        if self.checks:
            measured = compute.check(asset.rgb, asset.covered, on_device)
            columns["psnr"] = measured.psnr
            columns["psnr_object"] = [None if np.isnan(v) else v for v in measured.psnr_object]
            columns["ssim"] = measured.ssim
            columns["check_seconds"] = time.monotonic() - encoded
        return columns, members

    def _halve(self, compute: DeviceTokenizer, asset: AssetViews, error: BaseException) -> None:
        """Begins again with fewer pixels per call; other assets may have done so first."""
        if compute.pixels <= asset.rgb.shape[1] * asset.rgb.shape[2]:
            raise DataengineError(f"out of memory on {compute.device}: {str(error).splitlines()[0]}") from error
        if self._compute is compute:
            self._compute = compute.halved()
        raise Restart(f"out of memory: starting again with {compute.pixels // 2} pixels per call") from error

    def _agreement(self, compute: DeviceTokenizer, corpus: Corpus, shard: int) -> float | None:
        """Share of equal codes in float32 and in the chosen dtype, over the shard's first asset that can be read."""
        fragment = corpus.fragment(str(input_stage(corpus, self)), shard)
        for row in fragment.table.to_pylist() if fragment else ():
            if row["status"] == "ok":
                try:
                    asset = self._read(corpus, row)
                except AssetFailure:
                    continue
                exact = compute.encode(asset.rgb, dtype="float32")
                return float((compute.encode(asset.rgb) == exact).float().mean())
        return None


def token_stage(name: str = "small", weights: str | None = None, device: str = "auto") -> TokenStage:
    """A stage that loads its tokenizer where it is started, such as on a worker.

    Raises:
        UsageError, DataengineError: as `tokenize.load`, whose file is read here too: a wrong name costs no rendering.
    """
    spec = replace(load(name, weights).spec, background=WHITE)
    return TokenStage(spec, partial(_open, name, weights, device))


def _open(name: str, weights: str | None, device: str) -> DeviceTokenizer:
    return DeviceTokenizer(load(name, weights), pick_device(device))


def check_views_fit(tokenizer: TokenizerSpec, render: RenderConfig) -> None:
    """Raises UsageError if a corpus's views have no colour, are too small for a tokenizer's, or no multiple of its
    factor."""
    if not render.colour:
        raise UsageError("tokens are made of colour, and this corpus was planned with --no-colour")
    side, wanted = render.resolution, tokenizer.resolution
    if wanted is not None and wanted > side:
        raise UsageError(f"views of {side}×{side} cannot be scaled down to {wanted}×{wanted}")
    check_size(tokenizer, wanted or side, wanted or side)
