import json
import math
import shutil
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from dataengine.cli import build
from dataengine.corpus import fragments
from dataengine.corpus.corpus import Corpus
from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.tokenize.features import feature_distance
from dataengine.tokenize.metrics import MAX_PSNR
from dataengine.training import checkpoints
from dataengine.training.camera_columns import c2w_of, view_angles
from dataengine.training.config import Sampling, TrainConfig
from dataengine.training.data.index import build_index
from dataengine.training.evaluation.evaluate import SCHEMA, evaluate, write
from dataengine.training.evaluation.ground_truth import GroundTruth, objects_of
from dataengine.training.evaluation.means import means
from dataengine.training.evaluation.metrics import reprojection_psnr
from dataengine.training.evaluation.retrieval import Retrieval
from dataengine.training.reconstruct.aware import Reconstruct
from dataengine.training.reconstruct.network import Reconstructor, ReconstructorConfig
from dataengine.training.sample import load_run
from dataengine.training.tasks.draw import Request, draw
from dataengine.training.tokens_spec import tokens_for
from dataengine.training.trainer import train
from tests.training.synthetic import SPEC, ToyCodec, make_corpus, orbit_cameras


def test_relative_angles_of_an_orbit() -> None:
    angles = view_angles(torch.from_numpy(orbit_cameras(8))[None, [3, 5, 1]])
    assert torch.allclose(angles[0, :, 0].cos(), torch.tensor([1.0, 0, 0]), atol=1e-6)
    assert torch.allclose(angles[0, :, 0].sin(), torch.tensor([0.0, 1, -1]), atol=1e-6)
    assert torch.allclose(angles[0, :, 1], torch.tensor(torch.pi / 6))


def test_the_feature_distance_grows_with_the_difference() -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 3, 48, 48)
    noise = torch.randn_like(image)
    near, far = (feature_distance(image, (image + s * noise).clamp(0, 1)) for s in (0.05, 0.3))
    assert (feature_distance(image, image) == 0).all()
    assert (near < far).all()
    assert (far < feature_distance(image, torch.rand_like(image))).all()


def retrieval(drawn: torch.Tensor, true: torch.Tensor) -> list[float]:
    compared = Retrieval()
    for some in zip(drawn.split(3), true.split(3), strict=True):
        compared.add(*some)
    return compared.hits()


def test_retrieval_does_not_mind_which_side_comes_first() -> None:
    torch.manual_seed(0)
    truth = torch.rand(4, 4, 3, 16, 16)
    turned = torch.stack([own.roll(k, 0) for k, own in enumerate(truth)])
    assert retrieval(turned, truth) == [1.0] * 4
    assert retrieval(truth.roll(1, 0), truth) == [0.0] * 4
    large = torch.rand(23, 2, 3, 80, 80)  # compared at 64 pixels; 23 cannot be divided by ten
    assert retrieval(large, large) == [1.0] * 23
    assert retrieval(large.roll(-9, 0), large).count(0.0) == 23


def sphere(views: int, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images (colour = position in the world), depth and cameras of a ball of radius 0.5, by ray tracing."""
    cameras = torch.from_numpy(orbit_cameras(views, size))
    images, depths = [], []
    for camera in cameras:
        c2w = c2w_of(camera)
        axis = (torch.arange(size) + 0.5 - size / 2) / size
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        rays = torch.stack([x, y, torch.ones_like(x)], -1) @ c2w[:3, :3].T
        origin = c2w[:3, 3]
        a, b, c = (rays**2).sum(-1), rays @ origin, origin @ origin - 0.25
        root = b**2 - a * c
        t = torch.where(root > 0, (-b - root.clamp(min=0).sqrt()) / a, torch.zeros_like(a))
        points = origin + rays * t[..., None]
        images.append(torch.where(t[..., None] > 0, points + 0.5, torch.ones(3)).permute(2, 0, 1))
        depths.append(t)
    return torch.stack(images), torch.stack(depths), cameras


def test_reprojection_knows_one_object_from_several() -> None:
    images, depth, cameras = sphere(8, 64)
    assert reprojection_psnr(images, depth, cameras) > 27
    assert reprojection_psnr(images[[0, 3, 6, 1, 4, 7, 2, 5]], depth, cameras) < 20
    assert reprojection_psnr(images.flip(-1), depth, cameras) < 20
    assert reprojection_psnr(torch.full_like(images, 0.3), depth, cameras) == MAX_PSNR
    assert reprojection_psnr(images, torch.zeros_like(depth), cameras).isnan()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus]:
    """A run that knows four objects, each of one red and green; how blue they are tells the azimuth."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("trained")

    def turning(i: int) -> np.ndarray[Any, Any]:
        return np.stack([np.full((2, 2), 4 * (i % 4) + v) for v in range(4)]).astype(np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dataengine.training.model.config.SIZES", {"tiny": (64, 2)})
        corpus = make_corpus(
            folder / "corpus",
            132,
            66,
            tokens=turning,
            caption=lambda i: f"object {i % 4}",
            val_every=11,
            pictures=True,
        )
        common = {"run": folder / "run", "corpus": corpus.url, "tokenizer": "toy", "size": "tiny", "device": "cpu"}
        train(TrainConfig(**common, stage="i2mv", steps=100, batch=16, lr=3e-3, warmup=10, sheet_every=50), ToyCodec())
        train(TrainConfig(**common, stage="t2mv", steps=60, batch=16, lr=3e-3, warmup=10))
    return folder / "run", corpus


def test_i2mv_beats_what_needs_no_model(trained: tuple[Path, Corpus], tmp_path: Path) -> None:
    run, corpus = trained
    sampling = Sampling(4, temperature=0.5, noise=1.0)
    i2mv = load_run(run, ("i2mv",))
    table = evaluate(i2mv, corpus, ToyCodec(), tokenizer="toy", split="val", limit=8, sampling=sampling, train=corpus)
    write(table, tmp_path / "eval.parquet")
    assert pq.read_table(tmp_path / "eval.parquet").equals(table)
    assert Catalog(corpus).sql(f"SELECT count(*) FROM '{tmp_path}/eval.parquet'").fetchall() == [(32,)]
    found = {row["method"]: row for row in means(table)}
    assert list(found) == ["mean", "reference", "model", "round_trip"]
    assert found["round_trip"]["psnr"] > 45
    assert found["model"]["psnr"] > max(found["reference"]["psnr"], found["mean"]["psnr"]) + 1
    assert found["model"]["feature"] < min(found["reference"]["feature"], found["mean"]["feature"])
    assert found["model"]["ssim"] > found["mean"]["ssim"]


def test_views_are_measured_at_the_size_that_is_asked_for(trained: tuple[Path, Corpus]) -> None:
    """Each true view of this corpus is of one colour, and so is its mean over any area."""
    run, corpus = trained
    common: dict[str, Any] = {"tokenizer": "toy", "split": "val", "limit": 4, "sampling": Sampling(2), "train": corpus}
    i2mv, sizes = load_run(run, ("i2mv",)), []

    def see(_: str, true: torch.Tensor, drawn: torch.Tensor) -> None:
        sizes.extend([true.shape[-1], drawn.shape[-1]])

    whole = evaluate(i2mv, corpus, ToyCodec(), **common)
    small = evaluate(i2mv, corpus, ToyCodec(), **common, resolution=16, on_object=see)
    assert set(sizes) == {16}
    for row, before in zip(small.to_pylist(), whole.to_pylist(), strict=True):
        if row["method"] == "model":
            assert row["psnr"] >= before["psnr"] - 1e-3  # the mean of an error is no larger than the error's mean
        else:
            assert row["psnr"] == pytest.approx(before["psnr"], abs=1e-3)
            assert row["psnr_object"] == pytest.approx(before["psnr_object"], abs=1e-3)
    with pytest.raises(UsageError, match="views of 32×32 cannot be measured at 64×64"):
        evaluate(i2mv, corpus, ToyCodec(), **common, resolution=64)


def test_scaled_views_are_the_mean_of_what_they_show() -> None:
    images = torch.rand(1, 2, 3, 8, 8)
    covered = torch.zeros(1, 2, 8, 8, dtype=torch.bool)
    covered[0, 1, 3, 7] = True
    small = GroundTruth(["a"], images, covered, covered.float(), torch.zeros(1, 2, 30)).scaled(4)
    assert torch.allclose(small.images, images.view(1, 2, 3, 4, 2, 4, 2).mean((4, 6)), atol=1e-6)
    assert small.covered.nonzero().tolist() == [[0, 1, 1, 3]]


def test_views_that_are_drawn_can_be_made_to_agree(trained: tuple[Path, Corpus]) -> None:
    run, corpus = trained
    torch.manual_seed(0)
    model = Reconstructor(ReconstructorConfig(widths=(8, 16, 24), blocks=1)).eval()
    common: dict[str, Any] = {"tokenizer": "toy", "split": "val", "limit": 4, "sampling": Sampling(4)}
    i2mv = load_run(run, ("i2mv",))

    def measured(reconstruct: Reconstruct | None) -> list[dict[str, Any]]:
        return evaluate(i2mv, corpus, ToyCodec(), **common, reconstruct=reconstruct).to_pylist()

    plain = measured(None)
    assert measured(Reconstruct(9, 8.0, model)) == plain  # there is no ninth step
    guided = measured(Reconstruct(1, 8.0, model))
    for row, before in zip(guided, plain, strict=True):
        assert (row == before) == (row["method"] != "model")
    codes = replace(i2mv.state, tokenizer={**i2mv.state.tokenizer, "bit_order": "none"})
    with pytest.raises(UsageError, match="codes of toy are not made of bits"):
        Reconstruct(1, 8.0, model).of(replace(i2mv, state=codes), ToyCodec(), torch.zeros(1, 4, 30))


def test_the_fragments_are_listed_for_many_objects_at_once(
    trained: tuple[Path, Corpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, corpus = trained
    catalog = Catalog(corpus)
    index = build_index(catalog, "toy", split="val")
    listed: list[str] = []
    real = fragments.list_fragments
    monkeypatch.setattr(fragments, "list_fragments", lambda *a: listed.append(a[1]) or real(*a))
    found = [uid for _, truth in objects_of(catalog, "toy", index, (255, 255, 255), None, None) for uid in truth.uids]
    assert len(found) == len(index) > 8
    assert listed.count("views/orbit8") == 2  # once for the assets' places, once for their views


def test_views_are_those_that_the_tokens_were_made_of(tmp_path: Path) -> None:
    """Of a corpus with two view sets, the other one's colours are the opposite ones."""

    def tokens(i: int) -> np.ndarray[Any, Any]:
        return (np.arange(16).reshape(4, 2, 2) * 7 + i).astype(np.uint8) % 16

    corpus = make_corpus(tmp_path / "corpus", 8, tokens=tokens, pictures=True, other_set=True)
    catalog = Catalog(corpus)
    assert {row[0] for row in catalog.sql("SELECT DISTINCT view_set FROM views").fetchall()} == {"orbit8", "negative"}
    index = build_index(catalog, "toy")
    for batch, truth in objects_of(catalog, "toy", index, (255, 255, 255), None, None):
        shown = ToyCodec().decode(batch.tokens.flatten(0, 1)) / 2 + 0.5
        assert torch.allclose(truth.images.flatten(0, 1), shown, atol=1 / 255)


def test_tokens_that_fit_a_run_are_found_by_their_weights(trained: tuple[Path, Corpus], tmp_path: Path) -> None:
    state = load_run(trained[0], ("i2mv",)).state
    corpus = make_corpus(tmp_path / "corpus", 8, spec={**SPEC, "name": "orbit8-toy-32"})
    assert tokens_for(corpus, state) == "orbit8-toy-32"
    assert tokens_for(trained[1], state) == tokens_for(trained[1], state, "toy") == "toy"
    with pytest.raises(UsageError, match=r"has no tokens 'toy' \(it has orbit8-toy-32\)"):
        tokens_for(corpus, state, "toy")
    shutil.copytree(tmp_path / "corpus/tokens/orbit8-toy-32", tmp_path / "corpus/tokens/more")
    with pytest.raises(UsageError, match="choose --tokenizer more or orbit8-toy-32"):
        tokens_for(Corpus.open(tmp_path / "corpus"), state)
    assert tokens_for(Corpus.open(tmp_path / "corpus"), state, "more") == "more"
    other = make_corpus(tmp_path / "other", 8, spec={**SPEC, "name": "mine", "weights_sha256": "1" * 64})
    assert tokens_for(other, state) == "toy"  # which it does not have: that is said where they are read


def test_the_mean_is_that_of_the_tokens_that_were_chosen(trained: tuple[Path, Corpus], tmp_path: Path) -> None:
    """Where several fit the run, a choice holds for the corpus's own training mean too."""

    def tokens(i: int) -> np.ndarray[Any, Any]:
        return np.full((4, 2, 2), i % 16, np.uint8)

    make_corpus(tmp_path / "corpus", 20, tokens=tokens, spec={**SPEC, "name": "orbit8-toy-32"}, pictures=True)
    i2mv = load_run(trained[0], ("i2mv",))

    def rows() -> pa.Table:
        corpus, tokens = Corpus.open(tmp_path / "corpus"), "orbit8-toy-32"
        return evaluate(i2mv, corpus, ToyCodec(), tokenizer=tokens, split="val", train=corpus, sampling=Sampling(2))

    alone = rows()
    shutil.copytree(tmp_path / "corpus/tokens/orbit8-toy-32", tmp_path / "corpus/tokens/more")
    assert rows().equals(alone)


def test_an_evaluation_keeps_no_views_of_objects_that_are_done(trained: tuple[Path, Corpus]) -> None:
    run, corpus = trained
    kept: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def see(_: str, true: torch.Tensor, drawn: torch.Tensor) -> None:
        for views in (true, drawn):
            batch = views._base
            assert batch is not None  # the views are a part of its memory
            if not any(reference() is batch for reference in kept):
                kept.append(weakref.ref(batch))
        alive.append(sum(reference() is not None for reference in kept))

    evaluate(
        load_run(run, ("t2mv",)), corpus, ToyCodec(), tokenizer="toy", sampling=Sampling(2),
        split="train", limit=24, on_object=see,
    )  # fmt: skip
    assert len(kept) == 6  # three batches, true and drawn
    assert max(alive) == 2


def test_t2mv_follows_its_caption(trained: tuple[Path, Corpus]) -> None:
    run, corpus = trained
    sampling = Sampling(4, temperature=0.5, noise=1.0, guidance=1.0)
    table = evaluate(
        load_run(run, ("t2mv",)),
        corpus,
        ToyCodec(),
        tokenizer="toy",
        split="val",
        limit=12,
        sampling=sampling,
        train=corpus,
    )
    found = {row["method"]: row for row in means(table)}
    assert list(found) == ["mean", "model", "round_trip"]
    assert found["model"]["retrieval"] > 0.6  # chance is a quarter: there are four objects


def test_sampling_from_an_image_and_from_a_prompt(trained: tuple[Path, Corpus], tmp_path: Path) -> None:
    run, _ = trained
    assert [p.name for p in sorted((run / "i2mv" / "sheets").iterdir())] == ["00000050.png", "00000100.png"]
    picture = Image.new("RGBA", (50, 40), (255, 0, 0, 0))
    picture.save(tmp_path / "in.png")
    notes = draw(run, tmp_path / "out", ToyCodec(), Request("i2mv", image=tmp_path / "in.png"), sampling=Sampling(3))
    assert len(notes) == 3
    assert "has alpha" in notes[0]
    assert "50×40: it was fitted into 32×32" in notes[1]
    first = np.asarray(Image.open(tmp_path / "out" / "view_00.png"))
    assert (first == 255).all()  # the tokenizer's background shows through
    cameras = json.loads((tmp_path / "out" / "cameras.json").read_text())["views"]
    assert np.allclose(cameras[1]["c2w"], c2w_of(torch.from_numpy(orbit_cameras(4))[1]), atol=1e-6)
    draw(run, tmp_path / "two", ToyCodec(), Request("t2mv", prompt="object 3", views=2), sampling=Sampling(3, "halton"))
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == [
        "cameras.json", "sheet.png", "view_00.png", "view_01.png",
    ]  # fmt: skip


def test_requests_that_cannot_be_met(trained: tuple[Path, Corpus], tmp_path: Path) -> None:
    run, _ = trained
    with pytest.raises(UsageError, match="--task t2mv needs --prompt"):
        draw(run, tmp_path, ToyCodec(), Request("t2mv"), sampling=Sampling())
    with pytest.raises(UsageError, match="--task i2mv needs --image"):
        draw(run, tmp_path, ToyCodec(), Request("i2mv"), sampling=Sampling())
    with pytest.raises(UsageError, match="3 views cannot be spaced evenly on the run's 4 cameras"):
        draw(run, tmp_path, ToyCodec(), Request("t2mv", prompt="x", views=3), sampling=Sampling())
    (tmp_path / "no.png").write_text("no picture")
    with pytest.raises(UsageError, match="no.png is no image that can be read"):
        draw(run, tmp_path, ToyCodec(), Request("i2mv", image=tmp_path / "no.png"), sampling=Sampling())
    with pytest.raises(UsageError, match="has no checkpoint of complete or t2mv"):
        draw(tmp_path, tmp_path, ToyCodec(), Request("t2mv", prompt="x"), sampling=Sampling())
    other = make_corpus(tmp_path / "other", 8, spec={**SPEC, "weights_sha256": "1" * 64})
    with pytest.raises(UsageError, match="was trained on tokens of toy"):
        evaluate(load_run(run), other, ToyCodec(), tokenizer="toy", sampling=Sampling())


def test_intervals_are_those_of_the_normal_approximation() -> None:
    values = (1.0, 2, 3, 6)
    rows = [{"uid": str(v), "method": "model", "stage": "i2mv", "task": "i2mv", "psnr": v} for v in values]
    found = means(pa.Table.from_pylist(rows, schema=SCHEMA))[0]
    assert found["psnr"] == 3
    assert found["half_widths"]["psnr"] == pytest.approx(1.96 * math.sqrt(14 / 3) / 2)
    assert found["half_widths"]["lpips"] is None


def test_the_model_that_ships_is_evaluated_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = checkpoints.read_state(checkpoints.PACKAGED)
    spec = {**state.tokenizer, "resolution": 64}
    grid = np.arange(4 * 64).reshape(4, 8, 8).astype(np.uint16) % 16
    corpus = make_corpus(tmp_path / "corpus", 4, 4, tokens=lambda i: grid, spec=spec, val_every=2, pictures=True)
    done = CliRunner().invoke(build(), ["eval", "nano", corpus.url, "--split", "val", "--steps", "2"])
    assert done.exit_code == 0, done.output
    rows = pq.read_table(tmp_path / "eval-nano" / "eval.parquet").to_pylist()
    assert {r["method"] for r in rows} == {"model", "reference", "mean", "round_trip"}
    assert {(r["stage"], r["task"]) for r in rows} == {("i2mv", "i2mv")}
    text = CliRunner().invoke(build(), ["eval", "nano", corpus.url, "--task", "t2mv"])
    assert text.exit_code == 2
    assert "was trained for i2mv: train stage t2mv or complete" in text.output
