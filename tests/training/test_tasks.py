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
from dataengine.training.contact_sheet import to_picture, write_picture
from dataengine.training.model.config import ModelConfig
from dataengine.training.model.view_model import ViewModel
from dataengine.training.reconstruct.few_views import reconstruct_few
from dataengine.training.reconstruct.weights import load_reconstructor
from dataengine.training.sample import Trained, load_run
from dataengine.training.tasks.complete import complete
from dataengine.training.tasks.draw import Request, draw, read_cameras, read_depth
from dataengine.training.tasks.edit import _regressed, propagate_edit
from dataengine.training.tasks.interpolate import interpolate, looks_alike
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


def test_what_two_views_have_in_common_is_given_between_them() -> None:
    """With nothing to doubt, the views between are the rendering; of views far apart a third one is made use of."""
    images, _, cameras = scene(24)
    model, used = load_reconstructor(), []
    model.register_forward_pre_hook(
        lambda _, given: used.append(len({tuple(c.flatten().tolist()) for c in given[2][0]}))
    )
    how = {"sampling": Sampling(2, doubt=1e9), "reconstructor": model}
    drawn = interpolate(trained(), ToyCodec(), images[0], images[4], cameras[:5:2], **how)  # type: ignore[arg-type]
    common = reconstruct_few(model, images[[0, 4]], cameras[[0, 4]]).render(cameras[2:3]).colour
    assert torch.allclose(drawn, toy(torch.cat([images[:1], common, images[4:5]])))
    assert used == [2, 2]
    interpolate(trained(), ToyCodec(), images[0], images[7], cameras[:8], **how)  # type: ignore[arg-type]
    assert used == [2, 2, 2, 3]
    interpolate(trained(), ToyCodec(), images[0], images[0], turned(cameras[0], torch.linspace(0, 360, 9)), **how)  # type: ignore[arg-type]
    assert used == [2, 2, 2, 3]  # round the back, which neither shows, nothing is reconstructed


def test_what_looks_alike_from_both_sides_is_mixed() -> None:
    """A ball of one colour: its own picture predicts the other one best."""
    images, depth, cameras = scene(12)
    grey = torch.where(depth[:, None] > 0, 0.4, torch.ones(3)[:, None, None])
    ends = torch.stack([grey[0], grey[0] * 0.98])
    model = load_reconstructor()
    assert looks_alike(reconstruct_few(model, ends, cameras[[0, 2]]), ends, cameras[[0, 2]])
    drawn = interpolate(trained(), ToyCodec(), *ends, cameras[:3], sampling=Sampling(2, doubt=1e9), reconstructor=model)
    assert torch.allclose(drawn[1:2], toy(ends.mean(0, keepdim=True)))
    ends = images[[0, 2]]
    assert not looks_alike(reconstruct_few(model, ends, cameras[[0, 2]]), ends, cameras[[0, 2]])


def test_views_over_another_colour_are_not_reconstructed() -> None:
    images, _, cameras = scene(12)
    how = {"sampling": SAMPLING, "reconstructor": load_reconstructor()}
    with pytest.raises(UsageError, match="takes views over white"):
        interpolate(trained(background=[0, 0, 0]), ToyCodec(), images[0], images[2], cameras[:3], **how)  # type: ignore[arg-type]


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
    # How much of each pixel is red: the patch's rim is mixed.
    towards = torch.tensor([1.0, 0, 0])[:, None, None] - images
    share = ((found.carried - images) * towards).sum(1) / towards.square().sum(1)
    counts = share.flatten(1).sum(1).tolist()
    assert counts[0] == pytest.approx(256)
    # 45 degrees aside the patch is 1.15 away instead of 1, and turned by 54 degrees: 256 * 0.583 / 1.15² = 113 pixels
    # in its middle, more where the ball bends towards that camera.
    assert 100 < counts[1] < 160 and 100 < counts[7] < 160
    assert counts[4] == 0  # from behind
    # All of the patch is seen from 45 degrees aside, and what is not seen lies nearer to what was not edited.
    assert bool(found.given[[1, 7]].all())
    assert torch.equal(found.images[1][:, share[1] == 0], images[1][:, share[1] == 0])


def test_what_an_edit_does_not_show_is_changed_as_what_it_belongs_to() -> None:
    """The left half of the ball is painted red: from behind, the half that lies on the right follows, the other one
    stays."""
    images, depth, cameras = scene()
    edited = images[0].clone()
    edited[:, :, : SIDE // 2][:, depth[0, :, : SIDE // 2] > 0] = torch.tensor([1.0, 0, 0])[:, None]
    found = propagate_edit(trained(), ToyCodec(), images, depth, cameras, edited, sampling=SAMPLING)
    behind, there = 4, depth[4] > 0
    change = (found.images[behind] - images[behind]).abs().amax(0)
    left, right = slice(0, SIDE // 2 - 6), slice(SIDE // 2 + 6, SIDE)
    assert float(change[:, left][there[:, left]].mean()) < 0.1  # one of nine neighbours, here and there
    assert float(change[:, right][there[:, right]].mean()) > 0.2
    assert torch.equal(found.images[0], edited)
    assert torch.equal(found.carried[behind][:, ~there], images[behind][:, ~there])


def test_what_is_part_one_thing_and_part_another_changes_by_that_part() -> None:
    """White on grey is painted red: a pixel that is 30 % of the white takes 30 % of its change, and grey takes none."""
    white, grey, red = torch.ones(3), torch.full((3,), 0.5), torch.tensor([1.0, 0, 0])
    shares = torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0])[:, None]  # of white, in the pixels around
    before, change = grey + shares * (white - grey), shares * (red - white)
    asked = torch.tensor([0.0, 0.3, 1.0])[:, None]
    colours, weights = (grey + asked * (white - grey)).T, torch.ones(5, 3)
    found = _regressed(weights, before[..., None].expand(-1, -1, 3), change[..., None].expand(-1, -1, 3), colours)
    torch.testing.assert_close(found, (asked * (red - white)).T, atol=0.01, rtol=0)
    far = _regressed(weights[:, :1], before[..., None], change[..., None], torch.zeros(3, 1))
    assert float(far.abs().max()) == 0  # black is neither: it does not change the other way


def test_an_edit_is_copied_to_a_view_of_the_same_camera() -> None:
    images, depth, cameras = scene(4)
    edited = images[0].clone()
    edited[:, 40:56, 40:56] = torch.tensor([1.0, 0, 0])[:, None, None]
    same = [0, 0]
    found = propagate_edit(trained(), ToyCodec(), images[same], depth[same], cameras[same], edited, sampling=SAMPLING)
    inside = (slice(None), slice(43, 53), slice(43, 53))
    assert torch.allclose(found.images[1][inside], edited[inside], atol=0.05)
    assert bool(found.given.all())


def test_what_is_like_nothing_that_was_seen_is_drawn() -> None:
    """A green ball, its left half painted red; from behind it is blue, and nothing tells which half that belongs to."""
    images, depth, cameras = scene()
    there = depth[:, None] > 0
    images = torch.where(there, torch.tensor([0.0, 1, 0])[:, None, None], images)
    images[4] = torch.where(there[4], torch.tensor([0.0, 0, 1])[:, None, None], images[4])
    edited = images[0].clone()
    edited[:, :, : SIDE // 2][:, depth[0, :, : SIDE // 2] > 0] = torch.tensor([1.0, 0, 0])[:, None]
    found = propagate_edit(trained(), ToyCodec(), images, depth, cameras, edited, sampling=SAMPLING)
    given = found.given.view(8, *GRID)
    assert not bool(given[4].all())
    assert bool(given[:, 0, 0].all())  # the background


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
    round_the_back = Request("interpolate", image=red, last=red, views=3, turn=270)
    notes = draw(
        folder, tmp_path / "back", ToyCodec(), round_the_back, sampling=sampling, reconstructor=load_reconstructor()
    )
    assert notes[0] == "by the tokens alone: a turn of 270 degrees shows what neither view does"
    again = Request(
        "novel-view",
        image=red,
        depth=tmp_path / "depth.npy",
        cameras=tmp_path / "novel-view" / "cameras.json",
        estimated=True,
    )
    draw(folder, tmp_path / "again", ToyCodec(), again, sampling=sampling)
    unknown = replace(again, depth=None, estimated=False)
    notes = draw(
        folder, tmp_path / "unknown", ToyCodec(), unknown, sampling=sampling, reconstructor=load_reconstructor()
    )
    assert "depth: of a reconstruction of views that were drawn from around" in notes
    with pytest.raises(UsageError, match="--task novel-view needs --depth"):
        draw(folder, tmp_path / "unknown", ToyCodec(), unknown, sampling=sampling)
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
    assert "nano, which ships, was trained for" in done.output
    nothing = CliRunner().invoke(build(), ["sample", "nano"])
    assert (nothing.exit_code, "give --image, --prompt or both, or a --task" in nothing.output) == (2, True)
    Image.new("RGB", (64, 64), (200, 40, 40)).save(tmp_path / "in.png")
    image = CliRunner().invoke(
        build(), ["sample", "nano", "--image", str(tmp_path / "in.png"), "--steps", "2", "-o", str(tmp_path / "out")]
    )
    assert image.exit_code == 0, image.output
    assert "4 views of" in image.output


def test_the_command_line_reconstructs_what_is_not_given(tmp_path: Path) -> None:
    cameras = torch.from_numpy(orbit_cameras(6, 128))
    for name, image in zip(("a", "b"), ball(cameras[:2], 128)[0], strict=True):
        write_picture(to_picture(image), tmp_path / f"{name}.png")
    ends = ["--image", f"{tmp_path}/a.png", "--last", f"{tmp_path}/b.png", "--turn", "60", "--views", "3"]
    how = ["--steps", "1", "--draw", "bits", "--method", "halton", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(build(), ["sample", "slim", "--task", "interpolate", *ends, *how])
    assert done.exit_code == 0, done.output
    assert "sampler as suits slim: temperature 0.0\n" in done.output  # the rest was given
    assert (tmp_path / "out/view_02.png").exists()
    around = ["--image", f"{tmp_path}/a.png", "--cameras", f"{tmp_path}/out/cameras.json", "--steps", "1"]
    unknown = CliRunner().invoke(
        build(), ["sample", "slim", "--task", "novel-view", *around, "-o", f"{tmp_path}/novel"]
    )
    assert unknown.exit_code == 0, unknown.output
    assert "depth: of a reconstruction of views that were drawn from around" in unknown.output
    nothing = ["--depth", "depth.npy", "--reconstructor", "small"]
    refused = CliRunner().invoke(build(), ["sample", "slim", "--task", "novel-view", *around, *nothing])
    assert (refused.exit_code, "--reconstructor goes with" in refused.output) == (2, True)
    often = CliRunner().invoke(build(), ["sample", "slim", "--task", "interpolate", *ends, "--reconstruct-every", "1"])
    assert (often.exit_code, "goes with --task i2mv and t2mv" in often.output) == (2, True)


def test_a_loaded_run_knows_its_stage(run: tuple[Path, str]) -> None:
    found = load_run(run[0])
    assert found.state.stage == "complete"
    assert replace(found).model.config.camera == "rays"
