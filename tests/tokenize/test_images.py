import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dataengine.errors import AssetFailure, DataengineError, UsageError
from dataengine.tokenize.images import composite, decode_png, parse_background
from dataengine.tokenize.metrics import psnr, ssim
from dataengine.tokenize.views import pack_cameras
from tests.token_corpus import cameras, disc, png


def test_backgrounds() -> None:
    assert parse_background("white") == (255, 255, 255)
    assert parse_background("grey") == (128, 128, 128)
    assert parse_background("0, 12,255") == (0, 12, 255)
    for wrong in ("red", "1,2", "1,2,256", "1,2,-3", "", "1,2,3,4", "²,1,1"):
        with pytest.raises(UsageError, match="neither white, grey, black nor R,G,B"):
            parse_background(wrong)


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_composite_is_the_rounded_mix(colour: int, alpha: int, background: int) -> None:
    rgba = np.array([[[colour, colour, colour, alpha]]], np.uint8)
    mixed = composite(rgba, (background, background, background))[0, 0, 0]
    assert abs(float(mixed) - (colour * alpha + background * (255 - alpha)) / 255) <= 0.5


def test_composite_mixes_each_channel_with_its_own() -> None:
    background, colour = (10, 20, 30), (200, 100, 0)
    rgba = np.array([[[*colour, a] for a in (0, 51, 255)]], np.uint8)  # nothing, a fifth and all of it
    own = np.array([[background, (48, 36, 24), colour]], np.uint8)
    assert np.array_equal(composite(rgba, background), own)
    stack = np.stack([rgba, rgba])[:, :, ::-1]  # not contiguous
    assert np.array_equal(composite(stack, background), np.stack([own, own])[:, :, ::-1])
    assert np.array_equal(rgba[0, :, 3], [0, 51, 255])  # the caller's own is left alone


def test_pngs() -> None:
    pixels = disc(16, 0)
    content = png(pixels)
    assert np.array_equal(decode_png(content), pixels)
    for wrong in (b"", content[:40], content[: len(content) // 2], b"GIF89a"):
        with pytest.raises(DataengineError, match="not a PNG"):
            decode_png(wrong)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"views": [{}]}', b'{"views": [{"K": [1], "c2w": [2]}]}'])
def test_wrong_cameras(content: bytes) -> None:
    with pytest.raises(AssetFailure, match=r"cameras\.json cannot be read"):
        pack_cameras(content, 8, 8)


def test_cameras() -> None:
    packed = pack_cameras(cameras(2, 64), 64, 64)
    assert packed.shape == (2, 30)
    assert packed[1, :9].reshape(3, 3).tolist() == [[41, 0, 32], [0, 41, 32], [0, 0, 1]]
    assert packed[1, 9:25].reshape(4, 4).tolist() == (np.eye(4) + 1).tolist()


def test_psnr() -> None:
    a, b = torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    b[1, :, :4] = 0.1
    assert psnr(a, b).tolist() == pytest.approx([100, 23.0103], abs=1e-3)
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    mask[1, :, :4] = True
    values = psnr(a, b, mask).tolist()
    assert np.isnan(values[0])
    assert values[1] == pytest.approx(20, abs=1e-3)


def test_ssim() -> None:
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert ssim(x, x).tolist() == pytest.approx([1, 1])
    # Constant images: the luminance term alone, (2ab + c1) / (a² + b² + c1).
    a, b = torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.25)
    assert ssim(a, b).item() == pytest.approx((0.25 + 1e-4) / (0.3125 + 1e-4), abs=1e-4)
    assert ssim(x[..., :4, :4], 1 - x[..., :4, :4]).max() < 0.5
