"""Pictures as tensors: what they hold, and the order in which they come."""

import io
import json
import os
import pickle
import tarfile
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import dataengine
from dataengine import DataengineError, UsageError, Views
from dataengine.corpus.config import CorpusConfig, SourceConfig
from dataengine.corpus.corpus import CONFIG, Corpus
from dataengine.corpus.storage import Store
from dataengine.manifests.compact import compact
from dataengine.training.data.view_fields import pick_nearest, shrink_mean
from tests.synthetic import plan_row, put_plan
from tests.token_corpus import commit_views
from tests.view_corpus import RADIUS, centre, make_view_corpus, members, png, render

SIDE = 24
EVERYTHING = (
    "colour", "alpha", "depth", "mask", "points", "origins", "directions", "pluecker", "K", "c2w", "w2c", "near", "far",
    "azimuth", "elevation", "orthographic", "uid", "caption", "licence",
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """10 assets of 4 views in 3 shards."""
    return make_view_corpus(tmp_path_factory.mktemp("views") / "c", side=SIDE, normals=True)


def all_of(corpus: Any, **options: Any) -> list[dict[str, Any]]:
    return list(Views(corpus, **{"split": None, "epochs": 1, **options}))


def contents(corpus: Corpus) -> dict[str, dict[str, bytes]]:
    """{uid: {member: content}} by Python's own reader."""
    found: dict[str, dict[str, bytes]] = {}
    for tar in corpus.tars(corpus.views_stage):
        with tarfile.open(tar) as f:
            for info in f:
                uid, _, name = info.name.partition(".")
                found.setdefault(uid, {})[name] = f.extractfile(info).read()  # type: ignore[union-attr]
    return found


def pixels(content: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(content)))


def middles(corpus: Corpus) -> dict[str, Any]:
    return {row["uid"]: centre(row["row"]) for n in corpus.shards() for row in corpus.plan(n).to_pylist()}


def test_samples_hold_what_the_members_say(corpus: Corpus) -> None:
    true = contents(corpus)
    samples = all_of(corpus, fields=EVERYTHING)
    assert sorted(s["uid"] for s in samples) == sorted(true) and len(samples) == 10
    planned = {row["uid"]: row for n in corpus.shards() for row in corpus.plan(n).to_pylist()}
    for sample in samples:
        members = true[sample["uid"]]
        cameras = json.loads(members["cameras.json"])["views"]
        for v, camera in enumerate(cameras):
            rgba = pixels(members[f"0{v}.rgba.png"]).astype(np.float64) / 255
            over = rgba[..., :3] * rgba[..., 3:] + (1 - rgba[..., 3:])
            np.testing.assert_allclose(sample["colour"][v], over.transpose(2, 0, 1), atol=0.5 / 255 + 1e-6)
            np.testing.assert_allclose(sample["alpha"][v, 0], rgba[..., 3], atol=1e-6)
            stored = pixels(members[f"0{v}.depth.png"]).astype(np.float64)
            z = camera["near"] + (stored - 1) / 65534 * (camera["far"] - camera["near"])
            np.testing.assert_allclose(sample["depth"][v, 0], np.where(stored > 0, z, 0), atol=1e-6)
            np.testing.assert_array_equal(sample["mask"][v, 0], stored > 0)
            for name in ("K", "c2w", "near", "far", "azimuth", "elevation", "orthographic"):
                np.testing.assert_allclose(sample[name][v], camera[name], rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(sample["w2c"][v] @ sample["c2w"][v], np.eye(4), atol=1e-6)
        assert sample["orthographic"].tolist() == [False, False, False, True]
        for name in ("caption", "licence"):
            assert sample[name] == (planned[sample["uid"]][name] or "")
        assert sample["views"].tolist() == [0, 1, 2, 3]


def test_backgrounds(corpus: Corpus) -> None:
    true = contents(corpus)
    for background, value in (("black", 0), ("grey", 128), ("10,20,30", (10, 20, 30))):
        for sample in all_of(corpus, background=background, dtype=torch.uint8)[:2]:
            rgba = pixels(true[sample["uid"]]["01.rgba.png"]).astype(np.float64)
            share = rgba[..., 3:] / 255
            want = np.round(rgba[..., :3] * share + np.asarray(value) * (1 - share))
            np.testing.assert_array_equal(sample["colour"][1].permute(1, 2, 0), want)
    for sample in all_of(corpus, background=None, dtype=torch.uint8)[:2]:
        both = torch.cat([sample["colour"], sample["alpha"]], 1)[1].permute(1, 2, 0)
        np.testing.assert_array_equal(both, pixels(true[sample["uid"]]["01.rgba.png"]))
    drawn = [all_of(corpus, background="random", seed=3) for _ in range(2)]
    corners = [tuple(s["colour"][:, :, 0, 0].unique(dim=0).flatten().tolist()) for s in drawn[0]]
    assert len(set(corners)) == 10 and all(len(c) == 3 for c in corners)  # one a sample, all its views
    assert all(torch.equal(a["colour"], b["colour"]) for a, b in zip(*drawn, strict=True))


def test_points_lie_on_the_object_and_project_to_their_pixels(corpus: Corpus) -> None:
    of = middles(corpus)
    for sample in all_of(corpus, fields=("points", "mask", "K", "c2w", "uid", "orthographic"))[:3]:
        for v in range(4):
            points, K, c2w = (sample[name][v].double().numpy() for name in ("points", "K", "c2w"))
            rows, columns = np.nonzero(sample["mask"][v, 0].numpy())
            assert len(rows) > 50
            found = points[:, rows, columns].T
            assert np.abs(np.linalg.norm(found - of[sample["uid"]], axis=1) - RADIUS).max() < 1e-4
            seen = (found - c2w[:3, 3]) @ c2w[:3, :3]
            depth = np.ones(len(seen)) if sample["orthographic"][v] else seen[:, 2]
            np.testing.assert_allclose(K[0, 0] * seen[:, 0] / depth + K[0, 2], columns + 0.5, atol=1e-3)
            np.testing.assert_allclose(K[1, 1] * seen[:, 1] / depth + K[1, 2], rows + 0.5, atol=1e-3)
            assert (points[:, ~sample["mask"][v, 0].numpy()] == 0).all()


def test_rays_meet_the_points(corpus: Corpus) -> None:
    sample = all_of(corpus, fields=("points", "mask", "origins", "directions", "pluecker"))[0]
    origin, direction, point = sample["origins"], sample["directions"], sample["points"]
    assert torch.allclose(direction.norm(dim=1), torch.ones(4, SIDE, SIDE), atol=1e-6)
    along = ((point - origin) * direction).sum(1, keepdim=True)
    off = (origin + along * direction - point).norm(dim=1, keepdim=True)
    assert (along[sample["mask"]] > 0).all() and off[sample["mask"]].max() < 1e-5
    assert torch.allclose(sample["pluecker"][:, :3], direction)
    assert torch.allclose(sample["pluecker"][:, 3:], torch.linalg.cross(origin, direction, dim=1), atol=1e-6)


def test_normals_in_the_world_and_in_the_camera(corpus: Corpus) -> None:
    of = middles(corpus)
    for sample in all_of(corpus, fields=("normal", "normal_camera", "points", "mask", "c2w", "uid"))[:3]:
        mask = sample["mask"][:, 0]
        middle = torch.tensor(of[sample["uid"]], dtype=torch.float32)
        true = (sample["points"].permute(0, 2, 3, 1)[mask] - middle) / RADIUS
        found = sample["normal"].permute(0, 2, 3, 1)[mask]
        assert torch.rad2deg(torch.acos((true * found).sum(-1).clamp(max=1))).max() < 0.5
        assert torch.allclose(found.norm(dim=-1), torch.ones(len(found)), atol=1e-5)
        assert (sample["normal"].permute(0, 2, 3, 1)[~mask] == 0).all()
        for v in range(4):
            turned = sample["c2w"][v, :3, :3] @ sample["normal_camera"][v].flatten(1)
            assert torch.allclose(turned, sample["normal"][v].flatten(1), atol=1e-5)
        seen = sample["normal_camera"].permute(0, 2, 3, 1)[mask]
        assert (seen[:, 2] < 0.1).all()  # camera axes look away from us, surfaces towards us


def test_base_colour_material_and_ids(tmp_path: Path) -> None:
    corpus = make_view_corpus(tmp_path, assets=1, side=SIDE)
    ramp = np.arange(SIDE * SIDE * 3).reshape(SIDE, SIDE, 3)
    files = members(SIDE, centre(0), normals=False)
    for v in range(4):
        files[f"0{v}.albedo.png"], files[f"0{v}.orm.png"] = (
            png((ramp % 256).astype(np.uint8)),
            png((255 - ramp % 256).astype(np.uint8)),
        )
        files[f"0{v}.id.png"] = png((ramp[..., 0] * 30).astype(np.uint16))
    commit_views(corpus, 0, views=4, side=SIDE, changed={0: files})
    for side, picked in ((SIDE, ramp), (12, ramp[1::2, 1::2])):
        for dtype, scale in ((torch.uint8, 1), (torch.float32, 1 / 255)):
            (sample,) = all_of(corpus, fields=("albedo", "orm", "id"), resolution=side, dtype=dtype)
            assert sample["albedo"].dtype == dtype and sample["id"].dtype == torch.int32
            np.testing.assert_allclose(sample["albedo"][2].permute(1, 2, 0), picked % 256 * scale, rtol=1e-6)
            np.testing.assert_allclose(sample["orm"][2].permute(1, 2, 0), (255 - picked % 256) * scale, rtol=1e-6)
            np.testing.assert_array_equal(sample["id"][2, 0], picked[..., 0] * 30)


@pytest.mark.parametrize("side", [12, 9])
def test_smaller_pictures(corpus: Corpus, side: int) -> None:
    whole = {s["uid"]: s for s in all_of(corpus, fields=EVERYTHING)}
    of = middles(corpus)
    for sample in all_of(corpus, fields=EVERYTHING, resolution=side)[:3]:
        big = whole[sample["uid"]]
        assert sample["colour"].shape == (4, 3, side, side) and sample["depth"].shape == (4, 1, side, side)
        # No light is lost, whatever the ratio of the sizes.
        assert torch.allclose(sample["colour"].mean((2, 3)), big["colour"].mean((2, 3)), atol=1e-5)
        assert torch.allclose(sample["alpha"].mean((2, 3)), big["alpha"].mean((2, 3)), atol=1e-5)
        assert set(sample["depth"].flatten().tolist()) <= set(big["depth"].flatten().tolist())
        # K: the middle of the sphere, and a point beside it, land where they did, in the same share of the picture.
        for point in (of[sample["uid"]], of[sample["uid"]] + [0.1, 0.2, -0.1]):
            homogeneous = torch.tensor([*point, 1.0], dtype=torch.float32)
            for v in range(4):
                at = []
                for s in (sample, big):
                    x, y, z, _ = s["w2c"][v] @ homogeneous
                    flat = torch.stack([x, y, torch.ones(())]) if s["orthographic"][v] else torch.stack([x, y, z]) / z
                    at.append((s["K"][v] @ flat)[:2] / s["colour"].shape[-1])
                assert torch.allclose(*at, atol=1e-6)
        # A point map of the smaller picture is what its own rays meet.
        along = sample["points"] - sample["origins"]
        off = along - (along * sample["directions"]).sum(1, keepdim=True) * sample["directions"]
        assert (off.norm(dim=1, keepdim=True)[sample["mask"]] < 1e-5).all()


def test_means_and_nearest_pixels_by_hand() -> None:
    ramp = np.arange(6, dtype=np.float32)
    row = np.broadcast_to(ramp, (1, 1, 6, 6)).copy()
    np.testing.assert_allclose(shrink_mean(row, 3)[0, 0, 1], [0.5, 2.5, 4.5])
    # Pixels of 1.5: the first holds 0 and half of 1, the second the other half and 2.
    np.testing.assert_allclose(shrink_mean(row, 4)[0, 0, 2], [1 / 3, 5 / 3, 10 / 3, 14 / 3], rtol=1e-6)
    assert pick_nearest(row[0, 0], 2)[0].tolist() == [1, 4]


def test_straight_colour_is_not_darkened_by_what_is_transparent(corpus: Corpus) -> None:
    for sample in all_of(corpus, background=None, resolution=12)[:2]:
        colour, alpha = sample["colour"], sample["alpha"]
        black = next(s for s in all_of(corpus, background="black", resolution=12) if s["uid"] == sample["uid"])
        assert torch.allclose(colour * alpha, black["colour"], atol=1 / 255)
        assert (colour[(alpha == 0).expand_as(colour)] == 0).all() and colour.max() <= 1 + 1e-6


def uids(items: Any) -> list[str]:
    return [uid for item in items for uid in ([item["uid"]] if isinstance(item["uid"], str) else item["uid"])]


def test_an_epoch_has_every_asset_once_and_each_epoch_its_own_order(corpus: Corpus) -> None:
    first, second = (uids(islice(Views(corpus, split=None, seed=5), a, a + 10)) for a in (0, 10))
    assert len(set(first)) == 10 and set(first) == set(second) and first != second
    assert uids(Views(corpus, split=None, seed=5, epochs=2)) == first + second
    assert uids(Views(corpus, split=None, seed=6, epochs=1)) != first
    assert Views(corpus, split=None).num_samples == 10


@pytest.mark.parametrize("stop", [1, 7, 10, 13])
def test_a_resumed_stream_goes_on_exactly(corpus: Corpus, stop: int) -> None:
    options: dict[str, Any] = {"split": None, "views": 2, "background": "random", "fields": ("colour", "uid")}
    whole = list(islice(Views(corpus, **options), 20))
    views = Views(corpus, **options)
    begun = list(islice(views, stop))
    again = Views(corpus, **options)
    again.load_state_dict(json.loads(json.dumps(views.state_dict())))
    for rest in (again, views):  # another one, and the same one iterated over again
        found = [*begun, *islice(rest, 20 - stop)]
        assert uids(found) == uids(whole)
        for a, b in zip(found, whole, strict=True):
            assert torch.equal(a["colour"], b["colour"]) and torch.equal(a["views"], b["views"])


def test_batches_are_the_same_at_any_number_of_workers(corpus: Corpus) -> None:
    options: dict[str, Any] = {"split": None, "batch_size": 4, "views": 2, "fields": ("depth", "uid"), "threads": 1}
    alone = list(islice(Views(corpus, **options), 7))
    assert [b["depth"].shape for b in alone] == [(4, 2, 1, SIDE, SIDE)] * 7
    assert [b["state"]["samples"] for b in alone] == [4, 8, 2, 6, 0, 4, 8] and alone[2]["state"]["epoch"] == 1
    for workers in (1, 2):
        found = list(islice(DataLoader(Views(corpus, **options), batch_size=None, num_workers=workers), 7))
        for a, b in zip(alone, found, strict=True):
            assert a["uid"] == b["uid"] and a["state"] == b["state"] and torch.equal(a["depth"], b["depth"])
    views = Views(corpus, **options)
    views.load_state_dict(alone[2]["state"])
    rest = islice(DataLoader(views, batch_size=None, num_workers=2), 4)
    assert [b["uid"] for b in rest] == [b["uid"] for b in alone[3:]]


@pytest.mark.parametrize("batch_size", [None, 4])
def test_ranks_and_workers_share_an_epoch(corpus: Corpus, batch_size: int | None) -> None:
    seen: Counter[str] = Counter()
    for rank in range(2):
        views = Views(
            corpus, split=None, epochs=1, rank=rank, ranks=2, batch_size=batch_size, fields=("K", "uid"), threads=1
        )
        seen.update(uids(DataLoader(views, batch_size=None, num_workers=2)))
    assert len(seen) == 10 and set(seen.values()) == {1}


def test_ranks_split_each_global_batch(corpus: Corpus) -> None:
    options: dict[str, Any] = {"split": None, "batch_size": 6, "fields": ("uid",), "ranks": 2}
    alone = [b["uid"] for b in islice(Views(corpus, **{**options, "ranks": 1}), 4)]
    parts = [[b["uid"] for b in islice(Views(corpus, rank=r, **options), 4)] for r in range(2)]
    assert [a + b for a, b in zip(*parts, strict=True)] == alone
    with pytest.raises(UsageError, match="a batch of 5 cannot be divided among 2 ranks"):
        Views(corpus, split=None, batch_size=5, rank=0, ranks=2)


def test_a_workers_own_state(corpus: Corpus) -> None:
    """As a loader that keeps the states of its workers uses them."""
    views = Views(corpus, split=None, fields=("uid",), threads=1, batch_size=3)
    for worker in range(2):
        steps = list(islice(views._steps(worker, 2), 4))
        views.load_state_dict(views._state(steps[1].resume))
        assert [s.positions for s in islice(views._steps(worker, 2), 2)] == [s.positions for s in steps[2:]]
        views.load_state_dict(views._state(0))


def test_the_default_loader_collates(corpus: Corpus) -> None:
    views = Views(corpus, split=None, epochs=1, fields=EVERYTHING)
    batch = next(iter(DataLoader(views, batch_size=5)))
    assert batch["colour"].shape == (5, 4, 3, SIDE, SIDE) and batch["K"].shape == (5, 4, 3, 3)
    assert len(batch["caption"]) == 5 and all(isinstance(c, str) for c in batch["caption"])


def test_pickled_as_for_spawned_workers(corpus: Corpus) -> None:
    views = Views(corpus, split=None, fields=("depth", "uid"))
    next(iter(views))
    again = pickle.loads(pickle.dumps(views))
    for a, b in zip(islice(views, 5), islice(again, 5), strict=True):
        assert a["uid"] == b["uid"] and torch.equal(a["depth"], b["depth"])


def test_views_that_are_read(corpus: Corpus) -> None:
    whole = {s["uid"]: s for s in all_of(corpus, fields=("depth", "c2w", "uid"))}
    for choice, want in (([2, 0], {(2, 0)}), ((3,), {(3,)})):
        samples = all_of(corpus, views=choice, fields=("depth", "c2w", "uid"))
        assert {tuple(s["views"].tolist()) for s in samples} == want
        for s in samples:
            assert torch.equal(s["depth"], whole[s["uid"]]["depth"][s["views"]])
            assert torch.equal(s["c2w"], whole[s["uid"]]["c2w"][s["views"]])
    drawn = [tuple(s["views"].tolist()) for s in all_of(corpus, views=2, fields=("depth", "uid"))]
    assert all(len(set(d)) == 2 and max(d) < 4 for d in drawn) and len(set(drawn)) > 3
    with pytest.raises(UsageError, match="there is no view 4: orbit8 has views 0 to 3"):
        Views(corpus, split=None, views=[0, 4])
    for count in (0, 5):
        with pytest.raises(UsageError, match=f"{count} views cannot be drawn: orbit8 has 4"):
            Views(corpus, split=None, views=count)
    with pytest.raises(UsageError, match="views=\\[\\] asks for none"):
        Views(corpus, split=None, views=[])


def test_wrong_requests_are_told_in_a_line(corpus: Corpus, tmp_path: Path) -> None:
    for options, said in (
        ({"fields": ("color",)}, "there is no field 'color'; did you mean 'colour'?"),
        ({"view_set": "orbit"}, "has no view set 'orbit'; did you mean 'orbit8'?"),
        ({"fields": ("albedo",)}, "view set orbit8 has no albedo: asset .* has colour, depth, normal"),
        ({"background": "pink"}, "background 'pink' is neither white, grey, black nor R,G,B"),
        ({"resolution": 48}, "views of 24×24 cannot be scaled down to 48×48"),
        ({"dtype": torch.float16}, "colours cannot be of torch.float16"),
        ({"where": "colour = 3"}, "colour"),
        ({"where": "false"}, "none of the 10 rendered assets matches where='false'"),
        ({"split": "training"}, "no split 'training'"),
    ):
        with pytest.raises(UsageError, match=said):
            Views(corpus, **{"split": None, **options})
    views = Views(corpus, split=None)
    with pytest.raises(UsageError, match="the state is of an epoch of 9 samples, here one has 10"):
        views.load_state_dict({"epoch": 0, "samples": 3, "of": 9})
    empty = Store(tmp_path / "empty")
    empty.put(CONFIG, CorpusConfig(sources=(SourceConfig(spec="local:none"),)).to_yaml().encode())
    put_plan(empty, [plan_row(0, 5)])
    with pytest.raises(UsageError, match="is not rendered: no asset has views yet; run `dataengine render` first"):
        Views(tmp_path / "empty", split=None)


def test_views_of_several_sizes_are_refused(tmp_path: Path) -> None:
    corpus = make_view_corpus(tmp_path, assets=10, shard_size=5)
    render(corpus, 1, 12)
    with pytest.raises(UsageError, match="4 of 4 views of 12×12, 4 of 4 views of 24×24.*choose one kind with where="):
        Views(corpus, split=None)
    assert len(all_of(corpus, where="resolution = 12")) == 4


@pytest.mark.parametrize("how", ["flipped", "cut", "vanished"])
def test_damaged_bytes_are_named(tmp_path: Path, how: str) -> None:
    corpus = make_view_corpus(tmp_path, assets=3)
    (tar,) = corpus.tars(corpus.views_stage)
    with tarfile.open(tar) as f:
        info = next(i for i in f if i.name.endswith(".02.depth.png"))
    Path(tar).chmod(0o644)
    if how == "vanished":
        Path(tar).unlink()
    elif how == "cut":
        os.truncate(tar, info.offset_data + 3)
    else:
        content = bytearray(Path(tar).read_bytes())
        content[info.offset_data + 40] ^= 4
        Path(tar).write_bytes(content)
    said = "is not there; render that shard again" if how == "vanished" else " at byte .* has changed"
    said = f"{info.name}{said}" if how == "flipped" else said
    with pytest.raises(DataengineError, match=f"{tar}.*{said}"):
        all_of(corpus, where=f"uid = '{info.name.split('.')[0]}'")
    if how == "flipped":  # who does not read the member does not meet it
        assert len(all_of(corpus, fields=("colour", "K"))) == 3


def test_a_member_that_is_no_picture_is_named(tmp_path: Path) -> None:
    corpus = make_view_corpus(tmp_path, assets=2)
    commit_views(corpus, 0, views=4, side=SIDE, changed={0: {"01.rgba.png": b"no picture"}})
    with pytest.raises(DataengineError, match=r"01\.rgba\.png is not a PNG that can be decoded"):
        all_of(corpus, fields=("colour",))
    commit_views(corpus, 0, views=4, side=12)
    with pytest.raises(DataengineError, match="a picture of 12×12 in RGBA, not of 24×24 in RGBA"):
        index = Views(corpus, split=None, fields=("colour",))
        index._settings = type(index._settings)(24, 24, torch.float32)
        next(iter(index))


def copied(corpus: Corpus, url: str) -> str:
    store = Store(url)
    for file in sorted(Path(corpus.url).rglob("*")):
        if file.is_file() and not file.name.startswith("."):
            store.put(str(file.relative_to(corpus.url)), file.read_bytes())
    return url


def test_remote_shards_are_cached_within_a_bound(corpus: Corpus, tmp_path: Path) -> None:
    fsspec.filesystem("memory").store.clear()
    url = copied(corpus, "memory://bucket/views")
    size = max(Path(tar).stat().st_size for tar in corpus.tars(corpus.views_stage))
    here = all_of(corpus)
    for room in (100 * size, size):
        cache = tmp_path / str(room)
        there = all_of(url, cache=cache, cache_bytes=room)
        assert all(torch.equal(a["depth"], b["depth"]) for a, b in zip(here, there, strict=True))
        assert uids(here) == uids(there)
        assert sum(f.stat().st_size for f in cache.glob("*.tar")) <= room
    assert len(list((tmp_path / str(100 * size)).glob("*.tar"))) == 3


def test_workers_read_a_bucket(corpus: Corpus, s3_url: str, tmp_path: Path) -> None:
    copied(corpus, s3_url)
    views = Views(s3_url, split=None, epochs=1, fields=("depth", "uid"), cache=tmp_path)
    assert sorted(uids(DataLoader(views, batch_size=None, num_workers=2))) == sorted(uids(all_of(corpus)))
    assert len(list(tmp_path.glob("*.tar"))) == 3 and not list(tmp_path.glob(".*.part"))


def test_the_order_does_not_depend_on_compaction(tmp_path: Path) -> None:
    corpus = make_view_corpus(tmp_path)
    before = all_of(corpus, views=2)
    compact(corpus, assets_per_file=5)
    after = all_of(corpus, views=2)
    assert uids(before) == uids(after)
    assert all(torch.equal(a["colour"], b["colour"]) for a, b in zip(before, after, strict=True))


def test_the_index_takes_sixteen_bytes_a_member(corpus: Corpus) -> None:
    index = Views(corpus, split=None, fields=("colour", "depth"))._index
    members = len(index.names)
    assert members == 9
    assert index.block.nbytes + index.size.nbytes + index.digest.nbytes == 16 * members * 10


def test_it_is_public() -> None:
    assert dataengine.Views is Views
