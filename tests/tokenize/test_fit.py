import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from dataengine.cli import build as build_cli
from dataengine.errors import DataengineError, UsageError
from dataengine.tokenize import build, lfq, load
from dataengine.tokenize.fit import Progress, fit
from dataengine.tokenize.fit_curve import Point, gain, plot, table, verdict
from dataengine.tokenize.fit_quality import measure
from dataengine.tokenize.fit_step import FitSettings
from dataengine.tokenize.fit_views import decode, draw_batch, find_views
from dataengine.tokenize.images import composite, decode_png
from tests.token_corpus import disc, make_corpus, png
from tests.tokenize.published import SMALL_12_TINY as MAGVIT_TINY
from tests.tokenize.published import SMALL_TINY as TINY

RECIPE = FitSettings(batch=4, resolution=32, crop=16, warmup=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty models of two views; by the hash of their names, some are held out."""
    folder = tmp_path_factory.mktemp("views")
    for n in range(30):
        (folder / f"model{n}").mkdir()
        for v in range(2):
            (folder / f"model{n}" / f"{v}.png").write_bytes(png(disc(64 if n == 5 else 32, 10 * n + v)))
    return folder


def test_views_of_a_folder(folder: Path, tmp_path: Path) -> None:
    views = find_views(str(folder))
    assert len(views.train) + len(views.held_out) == 60
    assert 0 < views.held_out_models < 10
    assert not {*views.train} & {*views.held_out}
    assert find_views(str(folder), str(folder)).train == 2 * views.train
    with pytest.raises(UsageError, match="no views to train on"):
        find_views(str(tmp_path))


def test_views_of_a_corpus_follow_its_split(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", assets=12, shard_size=6, views=2)
    views = find_views(corpus.url)
    assert (views.held_out_models, views.train_models) == (2, 8)  # rows 0 and 10 are val; one per shard has failed
    assert len(views.train) == 16


def pixels_of(folder: Path) -> torch.Tensor:
    return torch.from_numpy(decode(find_views(str(folder)).train, 32))


@pytest.mark.parametrize("crop", [16, None])
def test_a_step_draws_the_same_batch_again(folder: Path, crop: int | None) -> None:
    pixels = pixels_of(folder)
    x, alpha = draw_batch(pixels, 0, 3, 6, crop=crop)
    again, _ = draw_batch(pixels, 0, 3, 6, crop=crop)
    other, _ = draw_batch(pixels, 0, 4, 6, crop=crop)
    side = crop or 32
    assert (x.shape, alpha.shape) == ((6, 3, side, side), (6, 1, side, side))
    assert torch.equal(x, again)
    assert not torch.equal(x, other)
    assert x.abs().max() <= 1 + 1e-6
    if crop is not None:
        assert (alpha.amax((1, 2, 3)) > 0).all()  # each square has some of the object


def test_whole_views_are_the_pictures_themselves(folder: Path) -> None:
    """Over white, not recoloured and at most mirrored, a drawn view is its PNG composited by the stage's own rule."""
    contents = find_views(str(folder)).train
    pixels = torch.from_numpy(decode(contents, 32))
    known = np.stack([composite(decode_png(c), (255, 255, 255)) for c in contents if len(decode_png(c)) == 32])
    known = np.concatenate([known, known[:, :, ::-1]])
    found = 0
    for step in range(4):
        x, _ = draw_batch(pixels, 0, step, 8, crop=None, turned=False)
        drawn = ((x + 1) * 127.5).permute(0, 2, 3, 1).numpy()
        found += sum(np.abs(known - view).max((1, 2, 3)).min() <= 1 for view in drawn)
    assert found >= 8  # of 32, of which about 18 are over white with their own colours


def test_a_crop_is_cut_where_the_object_is() -> None:
    """A single opaque pixel in a corner is in every crop, wherever that is cut."""
    pixels = torch.zeros(1, 4, 32, 32, dtype=torch.uint8)
    pixels[0, :, 30, 1] = 255
    for step in range(8):
        _, alpha = draw_batch(pixels, 0, step, 4, crop=16)
        assert (alpha.sum((1, 2, 3)) > 0.2).all()


def test_measuring_agrees_with_arithmetic_in_another_library(folder: Path) -> None:
    contents = find_views(str(folder)).held_out
    tokenizer = build("small", **TINY)
    quality = measure(tokenizer, torch.from_numpy(decode(contents, 32)))
    decibel, inside = [], []
    for content in contents:
        rgba = decode_png(content)
        if len(rgba) != 32:
            continue
        x = composite(rgba, (255, 255, 255)).astype(np.float64)
        codes = tokenizer.encode(torch.from_numpy(x).float().permute(2, 0, 1)[None] / 127.5 - 1)
        y = ((tokenizer.decode(codes)[0].permute(1, 2, 0).double().numpy() + 1) * 127.5).clip(0, 255).round()
        decibel.append(-10 * np.log10((((x - y) / 255) ** 2).mean()))
        inside.append(-10 * np.log10((((x - y) / 255) ** 2)[rgba[..., 3] > 0].mean()))
    assert quality.psnr == pytest.approx(np.mean(decibel), abs=0.02)
    assert quality.psnr_object == pytest.approx(np.mean(inside), abs=0.02)


def test_weights_of_tokens_are_as_if_the_others_were_not_there() -> None:
    z = torch.randn(20, 9, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor([1.0] * 12 + [0.0] * 8)
    torch.testing.assert_close(lfq.losses(z, 1.0, weight), lfq.losses(z[:12], 1.0))


@pytest.mark.parametrize(("name", "widths"), [("small", TINY), ("open-magvit2-128", MAGVIT_TINY)])
def test_a_stopped_fit_goes_on_to_the_same_weights(
    folder: Path, tmp_path: Path, name: str, widths: dict[str, Any]
) -> None:
    said: list[Progress] = []
    how: dict[str, Any] = {"tokenizer": name, "widths": widths, "steps": 4, "device": "cpu", "recipe": RECIPE}
    fitted = fit([str(folder)], tmp_path / "a.safetensors", on_step=said.append, **how)
    assert [p.step for p in said] == [1, 2, 3, 4]
    assert said[-1].quality is not None
    assert 0 < fitted.quality.codes_used < 1
    assert fitted.quality.views == len(find_views(str(folder)).held_out)

    class Stopped(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.step == 2:
            raise Stopped

    out = tmp_path / "b.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dataengine.tokenize.fit.KEEP_EVERY", 1)
        with pytest.raises(Stopped):
            fit([str(folder)], out, on_step=stop, **how)
    assert not out.exists()
    resumed: list[Progress] = []
    fit([str(folder)], out, on_step=resumed.append, **how)
    assert [p.step for p in resumed] == [3, 4]
    assert out.read_bytes() == (tmp_path / "a.safetensors").read_bytes()
    report = json.loads(out.with_suffix(".json").read_text())
    assert (report["steps"], report["held_out"]["views"]) == (4, fitted.quality.views)
    rows = list(csv.DictReader(out.with_suffix(".csv").read_text().splitlines()))
    assert [r["step"] for r in rows] == ["4"]
    assert float(rows[0]["psnr_object"]) == pytest.approx(said[-1].quality.psnr_object, rel=1e-4)
    with Image.open(out.with_suffix(".png")) as image:
        assert image.size == (880, 480)

    tokenizer = load(name, out)  # with its widths, which the file itself says
    assert tokenizer.spec.weights_sha256 == report["weights_sha256"]
    views = torch.from_numpy(decode(find_views(str(folder)).held_out, 32))
    # Of the rounded weights, as they are loaded.
    assert asdict(measure(tokenizer, views)) == pytest.approx(asdict(fitted.quality), rel=1e-5)
    with pytest.raises(UsageError, match=r"b\.fit is of a fit with (bits|z_channels) 6, not 5; delete it or"):
        fit([str(folder)], out, **{**how, "widths": {**widths, "bits" if name == "small" else "z_channels": 5}})


def test_a_fit_from_a_checkpoint_begins_with_its_weights(folder: Path, tmp_path: Path) -> None:
    """At a rate of nothing what comes out is what went in, rounded to half precision."""
    torch.manual_seed(0)
    made = build("open-magvit2-128", **MAGVIT_TINY)
    save_file(made.state_dict(), tmp_path / "published.safetensors")
    still = FitSettings(batch=4, resolution=32, crop=16, learning_rate=1e-12)
    out = tmp_path / "tuned.safetensors"
    how: dict[str, Any] = {"tokenizer": "open-magvit2-128", "steps": 1, "device": "cpu", "recipe": still}
    fit([str(folder)], out, start=tmp_path / "published.safetensors", use="raw", widths=MAGVIT_TINY, **how)
    tuned = load("open-magvit2-128", out).state_dict()
    for key, value in made.state_dict().items():
        torch.testing.assert_close(tuned[key], value.half().float(), rtol=1e-3, atol=1e-6)
    assert json.loads(out.with_suffix(".json").read_text())["from"]["weights_sha256"]

    other = {**MAGVIT_TINY, "z_channels": 5}
    with pytest.raises(DataengineError, match=r"'encoder.conv_out.weight' has shape \(6, .*has \(5, "):
        fit(
            str(folder),
            tmp_path / "x.safetensors",
            start=tmp_path / "published.safetensors",
            use="raw",
            widths=other,
            **how,
        )
    with pytest.raises(DataengineError, match="tuned.safetensors was fitted with z_channels 6, not 5"):
        fit([str(folder)], tmp_path / "x.safetensors", start=out, widths=other, **how)
    with pytest.raises(DataengineError, match="is a file of open-magvit2-128, not of small"):
        fit([str(folder)], tmp_path / "x.safetensors", **{**how, "tokenizer": "small"}, start=out)


def test_the_command_fits_a_network_of_other_widths(folder: Path, tmp_path: Path) -> None:
    options = [f"--width={k}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in TINY.items()]
    out = tmp_path / "mine.safetensors"
    run = CliRunner().invoke(
        build_cli(),
        ["tokenizer", "fit", str(folder), "-o", str(out), *["--steps=2", "--resolution=32", "--batch=2"], *options],
    )
    assert run.exit_code == 0, run.output
    assert "dB on the object" in run.output
    assert "too short to tell" in run.output
    assert load("small", out).spec.bits == 6
    run = CliRunner().invoke(build_cli(), ["tokenizer", "fit", str(folder), "-o", str(out), "--width", "bits"])
    assert run.exit_code == 2
    assert "--width bits is not NAME=NUMBER" in run.output


def curve(*values: float, rate: float = 1.0) -> list[Point]:
    return [Point(n, n * 60.0, rate, 0.0, 0.0, v, v, 0.5, 0.0, 1.0) for n, v in enumerate(values)]


def test_a_curve_says_whether_it_still_rises() -> None:
    assert gain(curve(20, 21)) is None
    assert gain(curve(20, 21, 22)) == pytest.approx(1)
    assert "more --steps will help" in verdict(curve(20, 21, 21.5, 21.8, 21.9, 22.0))
    assert "stopped gaining" in verdict(curve(20, 21, 22, 22, 21.9, 22.02))
    # What a falling rate gains says nothing about more steps.
    assert "stopped gaining" in verdict([*curve(20, 21, 22, 22, 21.9, 22.02), *curve(23, 24, rate=0.5)])
    assert "too short" in verdict([])
    points = curve(20, 21, 22)
    assert table(points).splitlines()[0].startswith("step,seconds,rate")
    ink = np.asarray(plot(points).convert("RGB")).reshape(-1, 3)
    assert (ink == (0x1F, 0x5F, 0xA8)).all(1).sum() > 300  # the line, from one side to the other


def test_wrong_output(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"written as \.safetensors"):
        fit([str(folder)], tmp_path / "a.pt")
    with pytest.raises(UsageError, match="device 'nothing' cannot be used"):
        fit([str(folder)], tmp_path / "a.safetensors", device="nothing")
    (tmp_path / "a.fit").write_bytes(b"something else")
    with pytest.raises(UsageError, match="delete it"):
        fit([str(folder)], tmp_path / "a.safetensors", device="cpu")
    with pytest.raises(UsageError, match="multiples of 8"):
        fit([str(folder)], tmp_path / "b.safetensors", device="cpu", recipe=FitSettings(crop=60))
