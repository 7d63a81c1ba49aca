"""Published layouts load; anything else is refused, by name, and nothing in a file is ever run."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from dataengine.errors import DataengineError, UsageError
from dataengine.tokenize import load
from dataengine.tokenize.checkpoint import weights_sha256
from tests.tokenize.published import OPEN_TINY, SHOW_O_TINY, filled, image

State = dict[str, Any]
KEY = "decoder.up.1.block.0.norm1.bias"
EMA_KEY = "model_ema.decoderup1block0norm1bias"


@pytest.fixture
def open_state() -> State:
    """As a training run leaves it: raw and averaged weights, counters, and the networks of the loss."""
    raw = filled("open-magvit2-256", **OPEN_TINY).state_dict()
    ema = {"model_ema." + k.replace(".", ""): v * 0.5 for k, v in raw.items()}
    counters = {"model_ema.decay": torch.tensor(0.999), "model_ema.num_updates": torch.tensor(7, dtype=torch.int32)}
    return {**raw, **ema, **counters, "loss.discriminator.main.0.weight": torch.zeros(3)}


def save(path: Path, state: State) -> Path:
    torch.save({"state_dict": state}, path)
    return path


def load_open(path: Path, **more: Any) -> Any:
    return load("open-magvit2-256", path, **more, **OPEN_TINY)


def test_open_magvit2_raw_and_ema(tmp_path: Path, open_state: State) -> None:
    path = save(tmp_path / "imagenet_256_L.ckpt", open_state)
    ema, raw = load_open(path), load_open(path, use="raw")
    assert (ema.spec.weights, raw.spec.weights) == ("ema", "raw")
    assert torch.equal(raw.state_dict()[KEY], open_state[KEY])
    assert torch.equal(ema.state_dict()[KEY], open_state[EMA_KEY])
    assert ema.spec.weights_sha256 == weights_sha256(ema) != raw.spec.weights_sha256
    assert not torch.equal(ema.encode(image()), raw.encode(image()))


def test_one_set_only(tmp_path: Path, open_state: State) -> None:
    raw = {k: v for k, v in open_state.items() if not k.startswith("model_ema.")}
    path = save(tmp_path / "a.ckpt", raw)
    with pytest.raises(DataengineError, match="holds no ema weights, only raw: choose raw"):
        load_open(path)
    assert load_open(path, use="raw").spec.weights == "raw"


def test_show_o(tmp_path: Path) -> None:
    tokenizer = filled("show-o", **SHOW_O_TINY)
    path = tmp_path / "pytorch_model.safetensors"
    safetensors.torch.save_file(tokenizer.state_dict(), path)
    loaded = load("show-o", path, **SHOW_O_TINY)
    assert torch.equal(loaded.encode(image()), tokenizer.encode(image()))
    assert loaded.spec.bit_order == "msb_first"
    flat = tmp_path / "copy.pth"
    torch.save(tokenizer.state_dict(), flat)
    assert load("show-o", flat, **SHOW_O_TINY).spec == loaded.spec
    state = tokenizer.state_dict()
    state["quantize.power_vals"] = state["quantize.power_vals"].flip(0).contiguous()
    safetensors.torch.save_file(state, path)
    with pytest.raises(DataengineError, match=r"quantize\.power_vals.* is not the table"):
        load("show-o", path, **SHOW_O_TINY)
    with pytest.raises(UsageError, match="holds one set of weights"):
        load("show-o", path, use="ema", **SHOW_O_TINY)


def _removed(key: str) -> Callable[[State], object]:
    return lambda state: state.pop(key)


def _renamed(key: str) -> Callable[[State], object]:
    return lambda state: state.update({key + "s": state.pop(key)})


def _reshaped(key: str) -> Callable[[State], object]:
    return lambda state: state.update({key: state[key][None]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_removed(KEY), f"lacks '{KEY}'"),
        (_removed(EMA_KEY), f"lacks '{EMA_KEY}'"),
        (_renamed(KEY), f"lacks '{KEY}'"),
        (_renamed(EMA_KEY), f"has '{EMA_KEY}s'"),
        (_reshaped(KEY), f"'{KEY}' has shape"),
        (_reshaped(EMA_KEY), f"'{KEY}' has shape"),
        (lambda s: s.update(more=torch.zeros(1)), "has 'more'"),
        (lambda s: s.update({KEY: s[KEY].long()}), "is of torch.int64"),
        (lambda s: s.update(epoch=3), "holds 'epoch', which is not a tensor"),
    ],
)
@pytest.mark.parametrize("use", ["raw", "ema"])
def test_one_wrong_key_is_refused_by_name(
    tmp_path: Path, open_state: State, change: Callable[[State], object], message: str, use: str
) -> None:
    change(open_state)
    with pytest.raises(DataengineError, match=message) as e:
        load_open(save(tmp_path / "a.ckpt", open_state), use=use)
    assert "\n" not in str(e.value)


def test_file_of_another_tokenizer(tmp_path: Path, open_state: State) -> None:
    path = save(tmp_path / "a.ckpt", open_state)
    with pytest.raises(DataengineError, match="another tokenizer"):
        load("show-o", path, **SHOW_O_TINY)
    with pytest.raises(DataengineError, match="was not written by `dataengine tokenizer fit`"):
        load("small", path)


class Code:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("protocol", [0, 2, 4, None])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, open_state: State, protocol: int | None) -> None:
    path, marker = tmp_path / "a.ckpt", tmp_path / "ran"
    content = {"state_dict": open_state, "callbacks": Code(marker)}
    if protocol is None:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps({"state_dict": Code(marker)}, protocol))
    with pytest.raises(DataengineError, match="nothing of it was run") as e:
        load_open(path)
    assert "\n" not in str(e.value)
    assert not marker.exists()


@pytest.mark.parametrize("layout", ["ckpt", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.999])
def test_truncated(tmp_path: Path, layout: str, share: float) -> None:
    tokenizer = filled("show-o", **SHOW_O_TINY)
    path = tmp_path / f"a.{layout}"
    write = torch.save if layout == "ckpt" else safetensors.torch.save_file
    write(tokenizer.state_dict(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataengineError, match="damaged or cut short") as e:
        load("show-o", path, **SHOW_O_TINY)
    assert "\n" not in str(e.value)


def test_places() -> None:
    with pytest.raises(UsageError, match="not of the form hf://owner/repository/file"):
        load("show-o", "hf://showlab/magvitv2")
    with pytest.raises(UsageError, match="is not a file"):
        load("show-o", "no/such/file.safetensors")
    with pytest.raises(UsageError, match="unknown tokenizer"):
        load("vqgan")
