"""`dataengine sample`: from what a person has (pictures, words, an object of a corpus) to views in a folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import UnidentifiedImageError
from torch import Tensor

from dataengine.corpus.corpus import Corpus
from dataengine.errors import UsageError
from dataengine.geometry.gaussians import Gaussians
from dataengine.render.views import decode_depth
from dataengine.training.camera_columns import FAR, NEAR, turned
from dataengine.training.config import Sampling
from dataengine.training.contact_sheet import Codec
from dataengine.training.guided import GuidedDecoding
from dataengine.training.reconstruct.aware import Reconstruct
from dataengine.training.reconstruct.few_views import check_views
from dataengine.training.reconstruct.network import Reconstructor
from dataengine.training.reconstruct.outputs import write_scene
from dataengine.training.sample import Trained, background_of, choose_cameras, load_run, picture_of, write_views
from dataengine.training.tasks.complete import complete
from dataengine.training.tasks.edit import propagate_edit
from dataengine.training.tasks.interpolate import goes_behind, interpolate
from dataengine.training.tasks.novel_view import estimate_depth, novel_views
from dataengine.training.tasks.objects import ObjectViews, object_views
from dataengine.training.tasks.requirements import STAGES_OF, Task

Rows = list[tuple[str, Tensor]]


@dataclass(frozen=True)
class Request:
    """What is given, and what is asked for.

    Attributes:
        task: see docs/training.md.
        image: i2mv, interpolate, novel-view: what the first view shows. edit: the first view of the object, edited.
        last: interpolate: what the last view shows.
        prompt: what the object is.
        views: how many, the given ones included; i2mv, t2mv: evenly spaced on the run's cameras.
        turn: interpolate: degrees from the first view to the last one, counter-clockwise from above.
        depth: novel-view: of the image. A 16-bit PNG as the corpus has it (with the near and far plane of the first
            camera), or an .npy of planar depth in world units; 0 = none. None: it is estimated.
        cameras: novel-view: a cameras.json as `sample` writes it; the first one is the image's.
        corpus, uid: novel-view, edit: an object whose views have depth, its uid whole or shortened. novel-view draws
            its other cameras.
        view_set: of that corpus; None: the only one.
        estimated: novel-view: the depth given is an estimate, so patches that the model finds improbable are drawn
            anew.
    """

    task: Task
    image: Path | None = None
    last: Path | None = None
    prompt: str = ""
    views: int = 4
    turn: float = 90.0
    depth: Path | None = None
    cameras: Path | None = None
    corpus: str | None = None
    uid: str | None = None
    view_set: str | None = None
    estimated: bool = False


def draw(
    run: Path,
    out: Path,
    codec: Codec,
    request: Request,
    *,
    sampling: Sampling,
    seed: int = 0,
    device: str = "cpu",
    reconstruct: Reconstruct | None = None,
    decoder: GuidedDecoding | None = None,
    reconstructor: Reconstructor | None = None,
) -> list[str]:
    """Draws one object, and writes sheet.png, view_00.png … and cameras.json.

    Args:
        run: a run's folder, or nano.
        out: where to.
        codec: the run's tokenizer.
        request: what is asked for.
        sampling, seed: see sampler.py.
        reconstruct: i2mv, t2mv: how the views are made to agree; splats.ply, points.ply and turntable.gif are then
            written too. None: they are not.
        decoder: i2mv, t2mv: decodes the views together, with the depth of their visual hull.
        reconstructor: interpolate: finds what the two views show in common; None: the tokens alone say what is between.
            novel-view: estimates depth that is not given; None: it has to be.

    Returns:
        Lines for the person who asked: what was done to the pictures, what was written.

    Raises:
        UsageError: if the run was not trained for the task, something that it needs is not given, or cannot be used.
    """
    trained = load_run(run, STAGES_OF[request.task], device)
    how: dict[str, Any] = {"sampling": sampling, "seed": seed}
    notes: list[str] = []
    if decoder is not None:
        if request.task not in ("i2mv", "t2mv"):
            raise UsageError(f"--decoder goes with --task i2mv and t2mv, not with {request.task}")
        how["decoder"] = decoder
        alone = request.views < 2
        notes = ["one view only: it is decoded plainly" if alone else "depth to decode with: the views' visual hull"]
    if reconstruct is not None:
        if request.task not in ("i2mv", "t2mv"):
            raise UsageError(f"--reconstruct-every goes with --task i2mv and t2mv, not with {request.task}")
        return _with_reconstruction(trained, codec, request, reconstruct, out, how)
    if request.task == "novel-view":
        pictures, cameras, rows, notes = _novel_view(trained, codec, request, reconstructor, how)
    elif request.task == "edit":
        pictures, cameras, rows, notes = _edit(trained, codec, request, how)
    elif request.task == "interpolate":
        pictures, cameras, rows, notes = _interpolate(trained, codec, request, reconstructor, how)
    else:
        cameras = choose_cameras(trained.state, request.views)
        pictures, rows, more = _views(trained, codec, request, cameras, how)
        notes = [*notes, *more]
    write_views(out, pictures, cameras, rows)
    return [*notes, f"{len(pictures)} views of {trained.checkpoint}: {out / 'sheet.png'}"]


def _with_reconstruction(
    trained: Trained, codec: Codec, request: Request, reconstruct: Reconstruct, out: Path, how: dict[str, Any]
) -> list[str]:
    """i2mv and t2mv, the views of one object, which is written too."""
    cameras = choose_cameras(trained.state, request.views)
    look, guide = reconstruct.of(trained, codec, cameras[None])
    pictures, rows, notes = _views(trained, codec, request, cameras, {**how, "guide": guide})
    made = look.reconstruct(pictures[None])
    rows.append(
        ("reconstruction of four of them", look.render(made, (pictures.shape[-2], pictures.shape[-1]))[0].cpu())
    )
    write_views(out, pictures, cameras, rows)
    written = write_scene(out, Gaussians(*(values[0].cpu() for values in made)), cameras)
    return [*notes, f"{len(pictures)} views of {trained.checkpoint}: {out / 'sheet.png'}", *written]


def _views(
    trained: Trained, codec: Codec, request: Request, cameras: Tensor, how: dict[str, Any]
) -> tuple[Tensor, Rows, list[str]]:
    """i2mv and t2mv."""
    model, factor = trained.state.model, trained.state.tokenizer["factor"]
    images = torch.zeros(request.views, 3, model.grid[0] * factor, model.grid[1] * factor)
    given = torch.zeros(request.views, model.view_tokens, dtype=torch.bool)
    notes: list[str] = []
    if request.task == "i2mv":
        images[0], notes = picture_of(trained.state, _needed(request, "image"))
        given[0] = True
    elif not request.prompt:
        raise UsageError("--task t2mv needs --prompt")
    drawn = complete(trained, codec, images[None], given[None], cameras[None], prompts=[request.prompt], **how)[0]
    source = f"the first view, {request.image.name}" if request.image and request.task == "i2mv" else request.prompt
    return drawn, [(f"drawn from {source}", drawn)], notes


def _interpolate(
    trained: Trained, codec: Codec, request: Request, reconstructor: Reconstructor | None, how: dict[str, Any]
) -> tuple[Tensor, Tensor, Rows, list[str]]:
    first, notes = picture_of(trained.state, _needed(request, "image"))
    last, more = picture_of(trained.state, _needed(request, "last"))
    degrees = torch.linspace(0, request.turn, max(1, request.views))
    cameras = turned(torch.tensor(trained.state.cameras[0]), degrees)
    if reconstructor is not None:
        try:
            check_views(background_of(trained.state.tokenizer), cameras)
        except UsageError as e:
            reconstructor, more = None, [*more, f"by the tokens alone: {e}"]
        if goes_behind(cameras):
            more = [*more, f"by the tokens alone: a turn of {request.turn:g} degrees shows what neither view does"]
    drawn = interpolate(trained, codec, first, last, cameras, reconstructor=reconstructor, **how)
    return drawn, cameras, [("drawn between the first view and the last", drawn)], [*notes, *more]


def _novel_view(
    trained: Trained, codec: Codec, request: Request, reconstructor: Reconstructor | None, how: dict[str, Any]
) -> tuple[Tensor, Tensor, Rows, list[str]]:
    rows: Rows = []
    notes: list[str] = []
    estimated = request.estimated
    if request.corpus is not None:
        known = _object(trained, request)
        image, depth, cameras = known.images[0], known.depth[0], known.cameras
        rows = [("true", known.images)]
    else:
        image, notes = picture_of(trained.state, _needed(request, "image"))
        cameras = read_cameras(_needed(request, "cameras"), torch.tensor(trained.state.cameras[0]))
        if request.depth is None and reconstructor is not None:
            estimated = True
            notes = [*notes, "depth: of a reconstruction of views that were drawn from around"]
            depth = estimate_depth(trained, codec, reconstructor, image, cameras[0], prompt=request.prompt, **how)
        else:
            depth = read_depth(_needed(request, "depth"), cameras[0], (image.shape[1], image.shape[2]))
    found = novel_views(trained, codec, image, depth, cameras, prompt=request.prompt, estimated=estimated, **how)
    warped = torch.cat([image[None], torch.where(found.warped.known[:, None], found.warped.images, 0.5)])
    return found.images, cameras, [*rows, ("warped by depth; grey: unknown", warped), ("drawn", found.images)], notes


def _edit(
    trained: Trained, codec: Codec, request: Request, how: dict[str, Any]
) -> tuple[Tensor, Tensor, Rows, list[str]]:
    known = _object(trained, request)
    edited, notes = picture_of(trained.state, _needed(request, "image"))
    found = propagate_edit(trained, codec, known.images, known.depth, known.cameras, edited, **how)
    rows = [("before", known.images), ("carried by depth", found.carried), ("drawn", found.images)]
    return found.images, known.cameras, rows, notes


def _needed(request: Request, name: str) -> Path:
    value = getattr(request, name)
    if value is None:
        raise UsageError(f"--task {request.task} needs --{name}")
    return Path(value)


def _object(trained: Trained, request: Request) -> ObjectViews:
    if request.corpus is None or request.uid is None:
        raise UsageError(f"--task {request.task} needs --corpus and --uid: an object whose views have depth")
    side = trained.state.model.grid[0] * trained.state.tokenizer["factor"]
    background = background_of(trained.state.tokenizer)
    return object_views(Corpus.open(request.corpus), request.uid, background, side, request.view_set)


def read_depth(path: Path, camera: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W) planar depth in world units from a 16-bit PNG or an .npy, nearest pixels at the size asked for.

    Raises:
        UsageError: if it is neither.
    """
    try:
        if path.suffix == ".npy":
            depth = torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))
        else:
            depth = torch.from_numpy(decode_depth(path.read_bytes(), float(camera[NEAR]), float(camera[FAR])))
    except FileNotFoundError as e:
        raise UsageError(f"there is no depth {path}") from e
    except (OSError, UnidentifiedImageError, ValueError) as e:
        raise UsageError(f"{path} is no depth that can be read: {e}") from e
    if depth.ndim != 2 or not depth.isfinite().all():
        raise UsageError(f"{path} is no depth map: it needs one finite number per pixel")
    return F.interpolate(depth[None, None], size, mode="nearest-exact")[0, 0]


def read_cameras(path: Path, like: Tensor) -> Tensor:
    """(V, 30) from a cameras.json: K and c2w of each view; what it does not say is as in a camera of the run (30,).

    Raises:
        UsageError: if it holds no cameras.
    """
    try:
        views = json.loads(path.read_text(encoding="utf-8"))["views"]
        rows = []
        for view in views:
            row = like.clone()
            row[:9] = torch.tensor(view["K"]).reshape(9)
            row[9:25] = torch.tensor(view["c2w"]).reshape(16)
            row[NEAR], row[FAR] = view.get("near", float(like[NEAR])), view.get("far", float(like[FAR]))
            row[27] = float(view.get("orthographic", False))
            row[28], row[29] = view.get("width", float(like[28])), view.get("height", float(like[29]))
            rows.append(row)
        if len(rows) < 2:
            raise ValueError(f"{len(rows)} cameras, the image's and at least one other are needed")
        return torch.stack(rows)
    except FileNotFoundError as e:
        raise UsageError(f"there are no cameras {path}") from e
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as e:
        raise UsageError(f"{path} holds no cameras that can be read: {e}") from e
