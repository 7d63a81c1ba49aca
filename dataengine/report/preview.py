"""What `dataengine preview` shows: one file of a model as a corpus would have it, without one."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from dataengine.corpus.corpus import Corpus
from dataengine.errors import ErrorCode
from dataengine.manifests.catalog import Catalog
from dataengine.render.scratch import Scratch
from dataengine.render.settings import render_config
from dataengine.report.asset import Asset, load_asset
from dataengine.report.explained import EXPLAINED
from dataengine.report.sheet import asset_sheet, facts
from dataengine.sources.local import find_file
from dataengine.stages.plan import plan_assets
from dataengine.stages.render import RenderStage
from dataengine.stages.run import run_shards

OF_THE_CORPUS = {"uid", "status", "error", "caption", "licence", "file", "place", "view set", "tar"}


@dataclass(frozen=True)
class Preview:
    """One file, rendered and checked.

    Attributes:
        ok: whether it could be used.
        lines: of the verdict and what it rests on, for people.
        image: its views, depth and cameras; of a failure, why.
    """

    ok: bool
    lines: tuple[str, ...]
    image: Image.Image


def preview(file: Path, settings: Mapping[str, Any], *, say: Callable[[str], None] = lambda line: None) -> Preview:
    """Plans, examines, renders and checks a file, with the sandbox and the limits of a corpus. Nothing of it stays.

    Args:
        file: one model; textures are looked for in its folder, as in a corpus.
        settings: fields of RenderConfig.
        say: told which protections are in force.

    Raises:
        UsageError: if there is no such file, it is called like no model, or a setting is wrong.
        DataengineError: if Blender does not work here.
    """
    render = render_config(**settings)
    listing = find_file(file, render.limits)
    with _scratch() as folder:
        plan_assets(folder, [listing], render=render, shard_size=1)
        corpus = Corpus.open(folder)
        run_shards(corpus, RenderStage(corpus.config.sets, workers=1), [0], say=say)
        asset = load_asset(corpus, 0, 0)
        sheet = asset_sheet(asset, OF_THE_CORPUS - {"file"})
        return Preview(asset.status == "ok", tuple(_lines(asset, file)), sheet)


@contextmanager
def _scratch() -> Iterator[Path]:
    scratch = Scratch()  # which also goes when this process is killed
    try:
        yield scratch.path / "corpus"
    finally:
        scratch.close()


def _lines(asset: Asset, file: Path) -> Iterator[str]:
    if asset.status != "ok":
        error = ErrorCode((asset.result or {})["error"])
        meaning, remedy = EXPLAINED[error]
        yield f"{file.name} failed: {error}: {(asset.result or {})['message']}"
        yield f"what it means     {meaning}"
        yield f"what to do        {remedy}"
    else:
        doubts = [why for _, _, reasons, _ in Catalog(asset.corpus).sql("suspicious").fetchall() for why in reasons]
        yield f"{file.name}: rendered; " + (f"look at it: {', '.join(doubts)}" if doubts else "nothing is suspicious")
    for label, value in facts(asset):
        if label not in OF_THE_CORPUS:
            first, *more = value.splitlines()
            yield f"{label:<17} {first}"
            yield from (f"{'':<17} {line}" for line in more)
