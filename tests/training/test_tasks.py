"""The tasks on a model that was trained for a minute at most: what is given stays, what cannot be done is said."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from dataengine.cli import build
from dataengine.errors import UsageError
from dataengine.training.camera_columns import ORTHOGRAPHIC, turned
from dataengine.training.checkpoints import RunState
from dataengine.training.config import Sampling, TrainConfig
from dataengine.training.model.config import ModelConfig
from dataengine.training.model.view_model import ViewModel
from dataengine.training.sample import Trained, load_run
from dataengine.training.tasks.complete import complete
from dataengine.training.tasks.draw import Request, draw, read_cameras, read_depth
from dataengine.training.tasks.edit import propagate_edit
from dataengine.training.tasks.interpolate import interpolate
from dataengine.training.tasks.novel_view import novel_views
from dataengine.training.tasks.requirements import check_cameras
from dataengine.training.trainer import train

from .synthetic import SPEC, ToyCodec, make_corpus, orbit_cameras, uid_of
from .test_warp import ball

GRID, SIDE = (6, 6), 96
SAMPLING = Sampling(4, temperature=0.5)


def trained(camera: str = "rays", **more: Any) -> Trained:
    torch.manual_seed(0)
    config = ModelConfig(width=64, layers=1, bits=4, grid=GRID, text_vocabulary=2048, text_length=32, camera=camera)  # type: ignore[arg-type]
    state = RunState(
        1, 0, 0, config, {**SPEC, **more}, "", orbit_cameras(8, SIDE).tolist(), {"stage": "complete"}
    )  # fmt: skip
    return Trained(Path("run/complete/checkpoints/00000001"), state, ViewModel(config).eval())


def toy(images: torch.Tensor) -> torch.Tensor:
    """What the toy codec makes of images: its loss is not the model's."""
    codec = ToyCodec()
    return codec.decode(codec.encode(images * 2 - 1)) / 2 + 0.5


def scene(views: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    cameras = torch.from_numpy(orbit_cameras(views, SIDE))
    images, depth = ball(cameras, SIDE)
    return images, depth, cameras


def test_endpoints_are_kept_and_what_is_between_is_drawn() -> None:
    images, _, cameras = scene()
    path = turned(cameras[0], torch.linspace(0, 90, 5))
    assert torch.allclose(path[4], cameras[2], atol=1e-5)
    drawn = interpolate(trained(), ToyCodec(), images[0], images[2], path, sampling=SAMPLING)
    assert torch.allclose(drawn[[0, 4]], toy(images[[0, 2]]))
    assert drawn.shape == (5, 3, SIDE, SIDE)
    with pytest.raises(UsageError, match="2 views, of which two are given, leave none between"):
        interpolate(trained(), ToyCodec(), images[0], images[2], path[[0, 4]], sampling=SAMPLING)


def test_a_novel_view_keeps_what_the_warp_covers() -> None:
    images, depth, cameras = scene()
    found = novel_views(trained(), ToyCodec(), images[0], depth[0], cameras[:3], sampling=SAMPLING)
    assert torch.allclose(found.images[0], toy(images[:1])[0])
    assert 0.4 < found.given[1:].float().mean() < 1
    kept = found.given[1:].view(2, *GRID).repeat_interleave(16, 1).repeat_interleave(16, 2)
    assert torch.allclose(
        found.images[1:].permute(0, 2, 3, 1)[kept], toy(found.warped.images).permute(0, 2, 3, 1)[kept]
    )
    with pytest.raises(UsageError, match="the warp covers nothing"):
        novel_views(trained(), ToyCodec(), images[0], depth[0] * 0, cameras[:3], sampling=SAMPLING)


def test_an_edit_is_carried_to_where_it_is_seen_and_the_rest_stays() -> None:
    images, depth, cameras = scene()
    edited = images[0].clone()
    patch = (slice(None), slice(40, 56), slice(40, 56))
    edited[patch] = torch.tensor([1.0, 0, 0])[:, None, None]
    found = propagate_edit(trained(), ToyCodec(), images, depth, cameras, edited, sampling=SAMPLING)
    red = (found.carried - torch.tensor([1.0, 0, 0])[:, None, None]).abs().amax(1) < 0.05
    counts = red.flatten(1).sum(1).tolist()
    assert counts[0] == 256
    # 45 degrees aside the patch is 1.15 away instead of 1, and turned by 54 degrees: 256 * 0.583 / 1.15² = 113 pixels
    # in its middle, more where the ball bends towards that camera.
    assert 100 < counts[1] < 160 and 100 < counts[7] < 160
    assert counts[4] == 0  # from behind
    # All of the patch is seen from 45 degrees aside, and what is not seen lies nearer to what was not edited.
    assert bool(found.given[[1, 7]].all())
    assert torch.equal(found.images[:, :, ~red[1]][1], images[1][:, ~red[1]])


def test_what_an_edit_does_not_show_is_drawn_where_it_belongs_to_what_was_edited() -> None:
    """The left half of the ball is painted red: from behind, the half that lies on the right is unknown, the other
    one stays."""
    images, depth, cameras = scene()
    edited = images[0].clone()
    edited[:, :, : SIDE // 2][:, depth[0, :, : SIDE // 2] > 0] = torch.tensor([1.0, 0, 0])[:, None]
    found = propagate_edit(trained(), ToyCodec(), images, depth, cameras, edited, sampling=SAMPLING)
    behind, there = 4, depth[4] > 0
    kept = (found.images[behind] == images[behind]).all(0) & there
    left, right = slice(0, SIDE // 2 - 6), slice(SIDE // 2 + 6, SIDE)
    assert float(kept[:, left].sum() / there[:, left].sum()) > 0.95
    assert float(kept[:, right].sum() / there[:, right].sum()) < 0.3
    assert torch.equal(found.images[0], edited)
    given = found.given.view(8, *GRID)
    assert not given[behind, GRID[0] // 2, -2] and bool(given[behind, GRID[0] // 2, :2].all())


def test_edits_that_cannot_be_carried_are_said() -> None:
    images, depth, cameras = scene(4)
    for change, why in ((lambda e: None, "nothing was edited"), (lambda e: e[:, :8, :8].zero_(), "outside the object")):
        edited = images[0].clone()
        change(edited)
        with pytest.raises(UsageError, match=why):
            propagate_edit(trained(), ToyCodec(), images, depth, cameras, edited, sampling=SAMPLING)
    with pytest.raises(UsageError, match="the edited view has 48×48 pixels, the object's have 96×96"):
        propagate_edit(trained(), ToyCodec(), images, depth, cameras, images[0, :, ::2, ::2], sampling=SAMPLING)


def test_masks_pictures_and_tokenizers_that_do_not_fit_are_said() -> None:
    images, _, cameras = scene(4)
    how = {"sampling": SAMPLING}
    wrong = torch.ones(1, 4, 16, dtype=torch.bool)
    with pytest.raises(UsageError, match="a mask of 1×4×16, the run needs 1×4×36: objects, views, and patches"):
        complete(trained(), ToyCodec(), images[None], wrong, cameras[None], **how)  # type: ignore[arg-type]
    given = torch.ones(1, 4, 36, dtype=torch.bool)
    with pytest.raises(UsageError, match="views of 48×48 pixels, the run knows 96×96"):
        complete(trained(), ToyCodec(), images[None, :, :, ::2, ::2], given, cameras[None], **how)  # type: ignore[arg-type]
    codec = ToyCodec()
    codec.spec = type("Spec", (), {"name": "toy", "bits": 4, "weights_sha256": "1" * 64})()  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="the run knows tokens of toy .weights_sha256 0000"):
        complete(trained(), codec, images[None], given, cameras[None], **how)  # type: ignore[arg-type]


def test_cameras_that_a_model_is_not_told_of_are_said_with_those_that_it_takes() -> None:
    rig = torch.from_numpy(orbit_cameras(8, SIDE))
    flat, wide, far = rig.clone(), rig.clone(), torch.from_numpy(orbit_cameras(8, SIDE, distance=3))
    flat[:, ORTHOGRAPHIC] = 1
    wide[:, [0, 4]] *= 0.5
    odd = turned(rig[0], torch.tensor([0.0, 17.0]))
    for cameras in (flat, wide, far, odd):
        check_cameras(trained("rays").state, cameras)
    for kind in ("matrix", "azimuth"):
        check_cameras(trained(kind).state, odd)
        check_cameras(trained(kind).state, torch.from_numpy(orbit_cameras(4, 2 * SIDE)))
        for cameras in (flat, wide):
            with pytest.raises(UsageError, match=f"told of cameras by {kind}: it takes the intrinsics and projection"):
                check_cameras(trained(kind).state, cameras)
    check_cameras(trained("matrix").state, far)
    with pytest.raises(UsageError, match=r"upright cameras that look at the origin from 1.50 away"):
        check_cameras(trained("azimuth").state, far)
    check_cameras(trained("none").state, rig[::2])
    with pytest.raises(UsageError, match="it draws evenly spaced ones of the 8 it was trained on"):
        check_cameras(trained("none").state, odd)


def test_depth_and_cameras_from_files(tmp_path: Path) -> None:
    camera = torch.from_numpy(orbit_cameras(1, SIDE))[0]
    np.save(tmp_path / "d.npy", np.full((4, 4), 1.25))
    Image.fromarray(np.full((4, 4), 32768, np.uint16)).save(tmp_path / "d.png")
    for name in ("d.npy", "d.png"):
        found = read_depth(tmp_path / name, camera, (8, 8))
        assert found.shape == (8, 8)
        assert found.mean() == pytest.approx(1.25 if name == "d.npy" else 1.5, abs=1e-4)
    np.save(tmp_path / "nan.npy", np.full((4, 4), np.nan))
    (tmp_path / "cameras.json").write_text('{"views": [{"K": [1, 2]}]}')
    for read, name, why in (
        (read_depth, "nan.npy", "is no depth map"),
        (read_depth, "none.npy", "there is no depth"),
        (read_depth, "cameras.json", "is no depth that can be read"),
    ):
        with pytest.raises(UsageError, match=why):
            read(tmp_path / name, camera, (8, 8))
    with pytest.raises(UsageError, match="holds no cameras that can be read"):
        read_cameras(tmp_path / "cameras.json", camera)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that was trained to complete for some steps, and its corpus; i2mv and no more in another run."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tasks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dataengine.training.model.config.SIZES", {"tiny": (64, 2)})
        square = lambda i: np.full((4, 2, 2), i % 16, np.uint8)  # noqa: E731
        corpus = make_corpus(folder / "corpus", 24, 8, tokens=square, pictures=True)
        common = {"corpus": corpus.url, "tokenizer": "toy", "size": "tiny", "device": "cpu", "batch": 8}
        train(TrainConfig(run=folder / "run", stage="complete", steps=60, lr=3e-3, warmup=10, **common))
        train(TrainConfig(run=folder / "single", stage="i2mv", steps=1, **common))
    return folder / "run", corpus.url


def test_every_task_draws_into_a_folder(run: tuple[Path, str], tmp_path: Path) -> None:
    folder, corpus = run
    red = tmp_path / "red.png"
    Image.new("RGB", (32, 32), (255, 0, 0)).save(red)
    np.save(tmp_path / "depth.npy", np.full((32, 32), 1.5, np.float32))
    sampling = Sampling(3)
    requests = [
        Request("i2mv", image=red),
        Request("t2mv", prompt="thing 3", views=2),
        Request("interpolate", image=red, last=red, views=3, turn=45),
        Request("novel-view", corpus=corpus, uid=uid_of(1)),
        Request("edit", corpus=corpus, uid=uid_of(1), image=red),
    ]
    for request in requests:
        out = tmp_path / request.task
        notes = draw(folder, out, ToyCodec(), request, sampling=sampling)
        views = request.views if request.corpus is None else 4
        assert len(list(out.glob("view_*.png"))) == views, request.task
        assert notes[-1].startswith(f"{views} views of {folder}")
        assert (out / "sheet.png").exists()
    shortened = Request("novel-view", corpus=corpus, uid=uid_of(1)[:-2])
    draw(folder, tmp_path / "shortened", ToyCodec(), shortened, sampling=sampling)
    for name in ("cameras.json", "view_03.png"):
        assert (tmp_path / "shortened" / name).read_bytes() == (tmp_path / "novel-view" / name).read_bytes(), name
    again = Request(
        "novel-view",
        image=red,
        depth=tmp_path / "depth.npy",
        cameras=tmp_path / "novel-view" / "cameras.json",
        estimated=True,
    )
    draw(folder, tmp_path / "again", ToyCodec(), again, sampling=sampling)
    both = [json.loads((tmp_path / n / "cameras.json").read_text()) for n in ("novel-view", "again")]
    assert both[0] == both[1]


def test_requests_that_lack_something_name_it(run: tuple[Path, str], tmp_path: Path) -> None:
    folder, corpus = run
    red = tmp_path / "red.png"
    Image.new("RGB", (32, 32), (255, 0, 0)).save(red)
    for request, why in (
        (Request("interpolate", image=red), "--task interpolate needs --last"),
        (Request("novel-view", image=red), "--task novel-view needs --cameras"),
        (Request("edit", image=red), "--task edit needs --corpus and --uid"),
        (Request("edit", corpus=corpus, uid="f" * 32, image=red), "has no asset 'f{32}'; the nearest is "),
        (Request("novel-view", corpus=corpus, uid="0"), "several assets begin with '0'"),
    ):
        with pytest.raises(UsageError, match=why):
            draw(folder, tmp_path / "out", ToyCodec(), request, sampling=SAMPLING)
    with pytest.raises(UsageError, match="single has no checkpoint of complete;"):
        draw(folder.parent / "single", tmp_path, ToyCodec(), Request("edit"), sampling=SAMPLING)


def test_the_command_line_chooses_the_task_and_says_what_nano_cannot(tmp_path: Path) -> None:
    done = CliRunner().invoke(build(), ["sample", "nano", "--task", "edit"])
    assert done.exit_code == 2, done.output
    assert "nano, the model that ships, was trained for" in done.output
    nothing = CliRunner().invoke(build(), ["sample", "nano"])
    assert (nothing.exit_code, "give --image, --prompt or both, or a --task" in nothing.output) == (2, True)
    Image.new("RGB", (64, 64), (200, 40, 40)).save(tmp_path / "in.png")
    image = CliRunner().invoke(
        build(), ["sample", "nano", "--image", str(tmp_path / "in.png"), "--steps", "2", "-o", str(tmp_path / "out")]
    )
    assert image.exit_code == 0, image.output
    assert "4 views of" in image.output


def test_a_loaded_run_knows_its_stage(run: tuple[Path, str]) -> None:
    found = load_run(run[0])
    assert found.state.stage == "complete"
    assert replace(found).model.config.camera == "rays"
