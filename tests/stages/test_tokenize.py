"""Views shards become tokens shards: the right bytes, whatever happens on the way."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import Fragment
from dataengine.corpus.shards import read_member
from dataengine.errors import UsageError
from dataengine.stages.tokenize import WHITE
from dataengine.tokenize.device_tokenizer import DeviceTokenizer
from dataengine.tokenize.images import composite
from dataengine.tokenize.views import CAMERA_COLUMNS
from tests.token_corpus import commit_views, disc, make_corpus, tokenize_shard
from tests.tokenize.published import SMALL_TINY, filled

GREY = (128, 128, 128)


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    return tmp_path / "spool"


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return make_corpus(tmp_path / "corpus")


@pytest.fixture
def compute() -> DeviceTokenizer:
    return DeviceTokenizer(filled("small", **SMALL_TINY), torch.device("cpu"))


def rows_of(fragment: Fragment) -> list[dict[str, Any]]:
    return list(fragment.table.to_pylist())


def array(corpus: Corpus, row: dict[str, Any], name: str) -> Any:
    member = next(m for m in row["members"] if m["name"] == name)
    return np.load(io.BytesIO(read_member(corpus.store, row["tar"], member)))


def tar_bytes(corpus: Corpus, fragment: Fragment) -> bytes:
    assert fragment.tar is not None
    return corpus.store.read(fragment.tar)


def test_tokens_cameras_captions_and_checks(corpus: Corpus, compute: DeviceTokenizer) -> None:
    seen: list[str] = []
    fragment = tokenize_shard(corpus, 0, compute, background=GREY, on_asset=lambda row: seen.append(row["uid"]))
    rows = rows_of(fragment)
    plan = corpus.plan(0).to_pylist()
    assert [r["uid"] for r in rows] == [r["uid"] for r in plan]
    assert sorted(seen) == sorted(r["uid"] for r in rows)
    assert [r["status"] for r in rows] == ["ok", "ok", "ok", "failed", "ok"]
    assert (rows[3]["error"], rows[3]["message"]) == ("EMPTY_SCENE", "has no views: nothing visible")
    views = corpus.fragment("views", 0)
    assert views is not None
    assert fragment.input == views.sha256
    spec = fragment.settings["tokenizer"]
    assert (spec["name"], spec["factor"], spec["codebook_size"], spec["bit_order"]) == ("small", 8, 64, "lsb_first")
    assert spec["background"] == [128, 128, 128]
    for n, row in enumerate(rows):
        if row["status"] != "ok":
            assert row["members"] == []
            continue
        rgb = composite(np.stack([disc(32, 100 * n + v) for v in range(3)]), GREY)
        tokens = array(corpus, row, "tokens.npy")
        assert (tokens.dtype, tokens.shape, row["grid"]) == (np.uint8, (3, 4, 4), [4, 4])
        x = torch.from_numpy(rgb).permute(0, 3, 1, 2).float() / 127.5 - 1
        assert np.array_equal(tokens, compute.tokenizer.encode(x).numpy())
        assert row["distinct_codes"] == len(np.unique(tokens))
        assert len(row["psnr"]) == len(row["psnr_object"]) == len(row["ssim"]) == row["num_views"] == 3
        assert 0 < row["background_share"] < 1
        packed = array(corpus, row, "cameras.npy")
        assert (packed.dtype, packed.shape) == (np.float32, (3, len(CAMERA_COLUMNS)))
        camera = dict(zip(CAMERA_COLUMNS, packed[1].tolist(), strict=True))
        assert (camera["K00"], camera["K02"], camera["c2w03"], camera["far"]) == (41, 16, 1, 2.5)
        assert (camera["orthographic"], camera["width"]) == (1, 32)
        names = {m["name"] for m in row["members"]}
        assert names == {"tokens.npy", "cameras.npy"} | ({"txt"} if plan[n]["caption"] else set())


def test_same_bytes_for_any_batch_alone_and_resumed(tmp_path: Path, compute: DeviceTokenizer, spool: Path) -> None:
    corpora = [make_corpus(tmp_path / name, assets=10) for name in ("a", "b", "c", "d")]
    whole = tokenize_shard(corpora[0], 1, compute)
    tokenize_shard(corpora[1], 0, compute)
    other = tokenize_shard(corpora[1], 1, compute)

    class Killed(Exception):
        pass

    def stop(row: dict[str, Any]) -> None:
        if row["status"] == "ok":
            raise Killed

    for taken in range(2):  # a run is stopped after the first asset, then after the second
        with pytest.raises(Killed):
            tokenize_shard(corpora[2], 1, compute, on_asset=_after(taken, stop))
    assert list(spool.glob("*/*.tar"))
    assert corpora[2].fragment("tokens/small", 1) is None
    resumed = tokenize_shard(corpora[2], 1, compute)
    assert not list(spool.glob("*/*.tar"))
    for corpus, fragment in ((corpora[1], other), (corpora[2], resumed)):
        assert tar_bytes(corpus, fragment) == tar_bytes(corpora[0], whole)
        assert fragment.sha256 == whole.sha256


def _after(count: int, stop: Any) -> Any:
    left = [count]

    def call(row: dict[str, Any]) -> None:
        if left[0] and row["status"] == "ok":
            left[0] -= 1
        else:
            stop(row)

    return call


def test_codes_do_not_depend_on_the_neighbours(compute: DeviceTokenizer) -> None:
    views = np.stack([disc(32, n)[..., :3] for n in range(7)])
    codes = compute.encode(views)
    assert torch.equal(compute.encode(views[::-1].copy()), codes.flip(0))
    # 3 parts of 3, the last filled up
    few = DeviceTokenizer(compute.tokenizer, compute.device, pixels=3 * 32 * 32)
    assert torch.equal(few.encode(views), codes)


def test_done_is_left_alone_until_its_input_or_tokenizer_changes(corpus: Corpus, compute: DeviceTokenizer) -> None:
    first = tokenize_shard(corpus, 0, compute)
    spec = first.settings["tokenizer"]

    seen: list[object] = []
    assert tokenize_shard(corpus, 0, compute, on_asset=seen.append).sha256 == first.sha256
    assert seen == []
    grey = tokenize_shard(corpus, 0, compute, background=GREY)
    assert grey.settings["tokenizer"] == {**spec, "background": [128, 128, 128]}
    commit_views(corpus, 0, seed=7)
    again = tokenize_shard(corpus, 0, compute, background=GREY)
    assert again.input != grey.input
    assert again.tar != grey.tar


def test_a_bad_asset_costs_a_row(corpus: Corpus, compute: DeviceTokenizer) -> None:
    views = commit_views(
        corpus,
        0,
        changed={
            0: {"01.rgba.png": b"\x89PNG\r\n\x1a\n and then nothing"},
            1: {"cameras.json": b'{"views": [{"K": 1}]}'},
            2: {"02.rgba.png": None},
        },
    )
    tar = Path(corpus.url) / str(views.tar)
    good = next(m for m in views.table.to_pylist()[4]["members"] if m["name"] == "00.rgba.png")
    rows = rows_of(tokenize_shard(corpus, 0, compute))
    assert [r["error"] for r in rows] == ["MALFORMED", "MALFORMED", "MALFORMED", "EMPTY_SCENE", None]
    assert "01.rgba.png: not a PNG" in rows[0]["message"]
    assert "2 views and 3 cameras" in rows[2]["message"]
    data = bytearray(tar.read_bytes())
    data[good["offset"] + 20] ^= 1
    tar.write_bytes(data)
    assert rows_of(tokenize_shard(corpus, 0, compute, retry=True))[4]["status"] == "ok"  # is kept, not read again
    fragment = tokenize_shard(corpus, 0, compute, background=GREY)
    assert fragment.tar is None
    assert rows_of(fragment)[4]["error"] == "SHA_MISMATCH"
    data[good["offset"] + 20] ^= 1
    tar.write_bytes(data)
    assert tokenize_shard(corpus, 0, compute, background=GREY).tar is None  # done, though with failures
    assert rows_of(tokenize_shard(corpus, 0, compute, background=GREY, retry=True))[4]["status"] == "ok"


def test_a_tar_that_is_gone_or_cut_costs_its_rows(corpus: Corpus, compute: DeviceTokenizer) -> None:
    views = corpus.fragment("views", 0)
    assert views is not None
    tar = Path(corpus.url) / str(views.tar)
    content = tar.read_bytes()
    tar.write_bytes(content[: len(content) // 2])
    rows = rows_of(tokenize_shard(corpus, 0, compute))
    assert [r["status"] for r in rows] == ["ok", "ok", "failed", "failed", "failed"]
    tar.unlink()
    rows = rows_of(tokenize_shard(corpus, 0, compute, background=GREY))
    assert {r["error"] for r in rows} == {"SHA_MISMATCH", "EMPTY_SCENE"}
    assert "is not there" in rows[0]["message"]


def test_wrong_requests(tmp_path: Path, compute: DeviceTokenizer) -> None:
    corpus = make_corpus(tmp_path / "a", side=36)
    with pytest.raises(UsageError, match="multiples of 8, these are 36×36"):
        tokenize_shard(corpus, 0, compute)
    with pytest.raises(UsageError, match="no shard 5"):
        tokenize_shard(make_corpus(tmp_path / "b"), 5, compute)


class SmallDevice(DeviceTokenizer):
    """A device whose memory takes one view a call."""

    def encode(self, images: Any, **more: Any) -> torch.Tensor:
        if self.pixels > 32 * 32:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return super().encode(images, **more)

    def halved(self) -> DeviceTokenizer:
        return SmallDevice(self.tokenizer, self.device, pixels=self.pixels // 2)


def test_out_of_memory_halves_the_compute_shape(corpus: Corpus, compute: DeviceTokenizer) -> None:
    said: list[str] = []
    device = SmallDevice(compute.tokenizer, compute.device, pixels=2 * 32 * 32)
    fragment = tokenize_shard(corpus, 0, device, say=said.append)
    assert fragment.settings["compute"]["pixels"] == 32 * 32
    assert len(said) == 1
    assert "starting again with 1024 pixels per call" in said[0]


def test_bfloat16_says_how_many_codes_agree(corpus: Corpus, compute: DeviceTokenizer) -> None:
    half = DeviceTokenizer(compute.tokenizer, compute.device, dtype="bfloat16")
    settings = tokenize_shard(corpus, 0, half).settings
    assert settings["tokenizer"]["dtype"] == "bfloat16"
    assert 0.5 < settings["agreement_with_float32"] <= 1


def test_without_checks(corpus: Corpus, compute: DeviceTokenizer) -> None:
    rows = rows_of(tokenize_shard(corpus, 0, compute, checks=False))
    assert rows[0]["psnr"] is None
    assert rows[0]["distinct_codes"] > 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves the file open
def test_webdataset_reads_the_shards(corpus: Corpus, compute: DeviceTokenizer) -> None:
    import webdataset

    fragment = tokenize_shard(corpus, 0, compute)
    urls = corpus.tars("tokens/small")
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    rows = [r for r in rows_of(fragment) if r["status"] == "ok"]
    assert [s["__key__"] for s in samples] == [r["uid"] for r in rows]
    for sample, row in zip(samples, rows, strict=True):
        assert np.array_equal(sample["tokens.npy"], array(corpus, row, "tokens.npy"))
        assert sample["cameras.npy"].shape == (3, len(CAMERA_COLUMNS))
    assert isinstance(samples[1]["txt"], str)


def test_views_are_scaled_down_with_their_cameras(corpus: Corpus, compute: DeviceTokenizer) -> None:
    whole = rows_of(tokenize_shard(corpus, 0, compute))[0]
    whole_cameras = array(corpus, whole, "cameras.npy")
    half = tokenize_shard(corpus, 0, compute, resolution=16)
    row = rows_of(half)[0]
    assert half.settings["tokenizer"]["resolution"] == 16
    assert row["grid"] == [side // 2 for side in whole["grid"]]
    cameras = dict(zip(CAMERA_COLUMNS, array(corpus, row, "cameras.npy")[0], strict=True))
    before = dict(zip(CAMERA_COLUMNS, whole_cameras[0], strict=True))
    for name in ("K00", "K11", "K02", "K12", "width", "height"):
        assert cameras[name] == before[name] / 2
    assert [cameras[n] for n in ("K22", "c2w03", "near")] == [before[n] for n in ("K22", "c2w03", "near")]
    rgb = composite(disc(32, 0), WHITE)
    expected = compute.encode(rgb.reshape(1, 16, 2, 16, 2, 3).mean((2, 4)).round().astype(np.uint8))
    agree = (expected.cpu().numpy() == array(corpus, row, "tokens.npy")[0]).mean()
    assert agree > 0.9  # but for the rounding of halves
    with pytest.raises(UsageError, match="32×32 cannot be scaled down to 64×64"):
        tokenize_shard(corpus, 0, compute, resolution=64)
