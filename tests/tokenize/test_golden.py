"""The networks are the published ones: their names, shapes, codes and pixels."""

import json
import zlib

import pytest
import torch

from dataengine.errors import UsageError
from dataengine.tokenize import build
from tests.tokenize.published import GOLDEN, OPEN_TINY, SHOW_O_TINY, SMALL_12_TINY, SMALL_TINY, filled, image

golden = pytest.mark.skipif(not GOLDEN.exists(), reason="../shared/golden is not there")
NAMES = ["open-magvit2-256", "open-magvit2-128", "show-o", "small", "small-12"]
TINY = [("open-magvit2-256", OPEN_TINY, "openmagvit2_tiny"), ("show-o", SHOW_O_TINY, "showo_tiny")]


@golden
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("open-magvit2-256", "openmagvit2_imagenet_256_L.core.keys.json"),
        ("open-magvit2-128", "openmagvit2_imagenet_128_L.core.keys.json"),
        ("show-o", "showo_magvitv2.keys.json"),
    ],
)
def test_state_dict_is_the_published_listing(name: str, file: str) -> None:
    expected = {k: (v["shape"], v["dtype"]) for k, v in json.loads((GOLDEN / file).read_text()).items()}
    with torch.device("meta"):
        state = build(name).state_dict()
    assert {k: (list(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in state.items()} == expected


@golden
@pytest.mark.parametrize(("name", "widths", "key"), TINY)
def test_codes_and_pixels_are_the_published_ones(name: str, widths: dict[str, object], key: str) -> None:
    expected = json.loads((GOLDEN / "golden_tiny.json").read_text())[key]
    tokenizer = filled(name, **widths)
    codes = tokenizer.encode(image(expected["input_hw"]))
    assert codes.dtype == torch.int64
    assert codes.flatten().tolist() == expected["indices"]
    decoded = tokenizer.decode(codes)
    assert list(decoded.shape) == expected["decoded_shape"]
    ends = torch.cat([decoded.flatten()[:8], decoded.flatten()[-8:]])
    known = torch.tensor(expected["decoded_first8"] + expected["decoded_last8"])
    # The listing is rounded to five decimals, which takes half of 1e-5.
    torch.testing.assert_close(ends, known, rtol=0, atol=1e-5)
    assert decoded.mean().item() == pytest.approx(expected["decoded_mean"], abs=1e-6)
    assert decoded.std().item() == pytest.approx(expected["decoded_std"], abs=1e-6)


# CRC-32 of the codes as little-endian int64, and a few decoded values: what the networks gave when they agreed with
# the published ones. These tests need no other folder.
OWN = {
    "open-magvit2-256": (OPEN_TINY, 2648481326, [-0.30897, -0.7859, -0.32198, -0.43307]),
    "show-o": (SHOW_O_TINY, 3680366979, [-0.02384, -0.04375, -0.05297, 0.05153]),
    "small-12": (SMALL_12_TINY, 2643886849, [-0.43318, -0.38275, 0.16313, 0.06232]),
}


@pytest.mark.parametrize("name", OWN)
def test_codes_and_pixels_do_not_change(name: str) -> None:
    widths, crc, known = OWN[name]
    tokenizer = filled(name, **widths)
    codes = tokenizer.encode(image())
    assert zlib.crc32(codes.numpy().astype("<i8").tobytes()) == crc
    decoded = tokenizer.decode(codes)
    torch.testing.assert_close(decoded.flatten()[:4], torch.tensor(known), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "factor", "bits", "size"),
    [
        ("open-magvit2-256", 16, 18, 115_127_829),
        ("open-magvit2-128", 8, 18, 112_021_653),
        ("show-o", 16, 13, 95_387_004),
    ],
)
def test_published_sizes(name: str, factor: int, bits: int, size: int) -> None:
    with torch.device("meta"):
        tokenizer = build(name)
    assert sum(p.numel() for p in tokenizer.parameters()) == size
    assert (tokenizer.spec.factor, tokenizer.spec.bits) == (factor, bits)
    assert tokenizer.spec.token_dtype == ("uint32" if bits > 16 else "uint16")


@pytest.mark.parametrize(("name", "widths"), [("open-magvit2-256", OPEN_TINY), ("show-o", SHOW_O_TINY)])
def test_bit_order(name: str, widths: dict[str, object]) -> None:
    quantize = build(name, **widths).quantize
    bits = quantize.bits
    z = -torch.ones(1, bits, 1, 1)
    z[0, 0] = 0.5
    assert quantize.indices(z).item() == (1 if name.startswith("open") else 2 ** (bits - 1))
    z[0, 0] = 0.0  # zero is an unset bit
    assert quantize.indices(z).item() == 0
    codes = torch.arange(2**bits).reshape(1, 1, -1)
    assert torch.equal(quantize.indices(quantize.features(codes)), codes)


@pytest.mark.parametrize("name", NAMES)
def test_small_round_trip_of_odd_sizes(name: str) -> None:
    widths = {"show-o": SHOW_O_TINY, "small": SMALL_TINY, "small-12": SMALL_12_TINY}.get(name, OPEN_TINY)
    tokenizer = filled(name, **widths)
    factor = tokenizer.spec.factor
    x = torch.zeros(2, 3, 3 * factor, 5 * factor)
    codes = tokenizer.encode(x)
    assert codes.shape == (2, 3, 5)
    assert tokenizer.decode(codes).shape == x.shape
    with pytest.raises(UsageError, match=f"multiples of {factor}"):
        tokenizer.encode(torch.zeros(1, 3, factor + 1, factor))
    with pytest.raises(UsageError, match="codes must be 0 to"):
        tokenizer.decode(codes + tokenizer.spec.codebook_size)


def test_a_map_of_one_token_is_refused_where_it_would_be_nan() -> None:
    with pytest.raises(UsageError, match="one token"):
        filled("open-magvit2-256", **OPEN_TINY).decode(torch.zeros(1, 1, 1))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown tokenizer 'vqgan'; there are small"):
        build("vqgan")
    with pytest.raises(UsageError, match="no width 'depth'"):
        build("show-o", depth=3)
