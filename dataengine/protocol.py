"""The papers' evaluation sets: from a folder of their models to the views that `eval` measures.

ViewMask-1-to-3 reports PSNR and SSIM on Google Scanned Objects and 3D-FUTURE, three views predicted from one, and says
neither which views nor how they were rendered. What is done here is SyncDreamer's published protocol (eval_nvs.py and
blender_script.py), which such papers share: 16 views at 30° elevation from 1.5 away, 49.13°, the object in a unit cube,
256 × 256, white. Of those, as MV-AR takes them, every fourth: view 0 is given, views 4, 8 and 12 are predicted.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from dataengine.corpus.config import Limits, RenderConfig
from dataengine.corpus.corpus import CONFIG, Corpus
from dataengine.corpus.storage import Store
from dataengine.errors import UsageError
from dataengine.sources.listing import SourceListing
from dataengine.sources.local import find_local
from dataengine.stages.plan import plan_assets
from dataengine.stages.render import RenderStage, default_workers
from dataengine.stages.run import run_shards
from dataengine.stages.tokenize import TokenStage
from dataengine.tokenize.device_tokenizer import DeviceTokenizer

Protocol = Literal["gso", "3d-future"]

RECIPE = "syncdreamer"
RESOLUTION = 256
WHITE = (255, 255, 255)


def protocol_corpus(
    protocol: Protocol,
    models: str,
    folder: Path,
    compute: DeviceTokenizer,
    tokenizer: Mapping[str, Any],
    grid: tuple[int, int],
    *,
    render: RenderConfig | None = None,
    workers: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Corpus:
    """Plans, renders and tokenizes what is not there yet.

    Args:
        protocol: whose models these are. gso: scans, z up, one OBJ each. 3d-future: y up, and of its two OBJ files
            the normalised one is left out.
        models: a folder of them, or a corpus that was planned already.
        folder: where the corpus goes that is made of a folder; kept, and used again.
        compute: the run's tokenizer.
        tokenizer: what the run was trained on, as its checkpoint has it.
        grid: of the run's views, in tokens.
        render: other settings than the protocol's.
        workers: Blender processes.
        say: told in one line what departs from the protocol.

    Raises:
        UsageError: if there are no such models, or the run knows no views on white or of this size.
        DataengineError: if rendering or tokenizing cannot go on.
    """
    if tuple(tokenizer.get("background") or WHITE) != WHITE:
        raise UsageError(f"--protocol {protocol} measures on white, the run knows views on {tokenizer['background']}")
    if Store(models).exists(CONFIG):
        corpus = Corpus.open(models)
    else:
        settings = render or RenderConfig(recipe=RECIPE, resolution=RESOLUTION)
        plan_assets(folder, [find_models(protocol, models, settings.limits)], render=settings)
        corpus = Corpus.open(folder)
    rendered = corpus.config.view_set().render
    if rendered.recipe != RECIPE or rendered.resolution != RESOLUTION:
        say(f"{corpus.url} is not as the protocol has it: recipe {RECIPE}, {RESOLUTION}² pixels")
    side = grid[0] * compute.spec.factor
    if side != rendered.resolution:
        say(f"the run draws {side}×{side} pixels: measured at that size, on views scaled down to it")
    resolution = None if side == rendered.resolution else side
    run_shards(corpus, RenderStage(corpus.config.sets, workers=workers or default_workers()), corpus.shards())
    run_shards(corpus, TokenStage.on(compute, background=WHITE, resolution=resolution, checks=False), corpus.shards())
    return corpus


def find_models(protocol: Protocol, folder: str, limits: Limits) -> SourceListing:
    """The set's models in a folder.

    Raises:
        UsageError: if there are none.
    """
    found = find_local(folder, limits)
    table = found.assets
    if protocol == "3d-future":
        stems = [Path(path).stem for path in table["path"].to_pylist()]
        table = table.filter(pa.array([stem != "normalized_model" for stem in stems]))
    else:
        objs = pc.equal(table["format"], "obj")
        for column, value in (("up", "Z"), ("up_source", "source")):
            at = table.schema.get_field_index(column)
            table = table.set_column(at, column, pc.if_else(objs, value, table[column]))
    if not len(table):
        raise UsageError(f"{folder} holds no models of {protocol}")
    return replace(found, assets=table)
