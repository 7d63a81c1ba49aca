"""3D-aware sampling: a guide pulls what is drawn towards what it says, as far as it is believed."""

import math

import pytest
import torch

from dataengine.errors import UsageError
from dataengine.geometry.rasterise import rasterise
from dataengine.training.camera_columns import ORTHOGRAPHIC
from dataengine.training.config import Method, Sampling
from dataengine.training.model.config import ModelConfig
from dataengine.training.model.view_model import ViewModel
from dataengine.training.reconstruct.guide import ReconstructionGuide
from dataengine.training.reconstruct.network import Reconstructor, ReconstructorConfig
from dataengine.training.sampler import Agreement, Guide, _bits_in_common, _towards, generate
from tests.training.synthetic import ToyCodec, orbit_cameras

CONFIG = ModelConfig(width=64, layers=1, bits=4, grid=(2, 2), text_vocabulary=8, text_length=2)


def test_bits_in_common_are_counted() -> None:
    found = _bits_in_common(torch.tensor([0b101, 0b000]), 3)
    assert found.tolist() == [[3 - (0b101 ^ c).bit_count() for c in range(8)], [3 - c.bit_count() for c in range(8)]]


def drawn(weight: float, method: Method, again: float = 0.5) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    torch.manual_seed(0)
    model = ViewModel(CONFIG).eval()
    true = torch.randint(16, (8, 4, 4), generator=torch.Generator().manual_seed(5))
    hidden = torch.full_like(true, CONFIG.mask)
    hidden[:, 0] = true[:, 0]
    looks: list[int] = []

    def agree(codes: torch.Tensor) -> Agreement:
        assert bool((codes < 16).all())  # the present guess, without holes
        assert torch.equal(codes[:, 0], true[:, 0])
        looks.append(1)
        return Agreement(true, torch.ones(true.shape))

    guide = Guide(agree, every=2, after=0.0, weight=weight, again=again)
    text = torch.zeros(8, 2, dtype=torch.long)
    cameras = torch.from_numpy(orbit_cameras(4)).expand(8, -1, -1)
    sampling = Sampling(8, method=method, temperature=1.0)
    return generate(model, text, hidden, cameras, sampling, 0, guide=guide), true, looks


@pytest.mark.parametrize("method", ["confidence", "halton"])
def test_tokens_of_a_reconstruction_pull_samples_towards_them(method: Method) -> None:
    right = {}
    for weight in (0.0, 1.0, 6.0):
        found, true, looks = drawn(weight, method)
        assert len(looks) == 3  # after 2, 4 and 6 of 8 steps
        assert torch.equal(found[:, 0], true[:, 0])
        right[weight] = float((found == true)[:, 1:].float().mean())
    assert right[0.0] < 0.2  # chance is 1/16
    assert right[0.0] + 0.1 < right[1.0] < right[6.0]
    # Nothing of the first two steps was guided; half of that is decided again after each look.
    assert right[6.0] > 0.9


def test_what_is_not_decided_again_stays() -> None:
    free, true, _ = drawn(6.0, "confidence", again=1.0)
    assert torch.equal(free, true)
    kept, _, _ = drawn(6.0, "confidence", again=0.0)
    first, _, _ = drawn(0.0, "confidence", again=0.0)
    assert 0 < float((kept == first)[:, 1:].float().mean()) < 1


def test_the_last_step_needs_no_look() -> None:
    guide = Guide(lambda codes: Agreement(codes, torch.ones(codes.shape)), every=3, after=0.5)
    assert [s for s in range(1, 10) if guide.looks_after(s, 9)] == [6]


def guide_of(cameras: torch.Tensor) -> ReconstructionGuide:
    torch.manual_seed(0)
    model = Reconstructor(ReconstructorConfig(widths=(8, 16, 24), blocks=1)).eval()
    return ReconstructionGuide(model, ToyCodec(), cameras, (2, 2))


def test_codes_of_a_reconstruction_have_the_views_shape() -> None:
    guide = guide_of(torch.from_numpy(orbit_cameras(8, 32)).expand(2, -1, -1))
    codes = torch.randint(16, (2, 8, 4), generator=torch.Generator().manual_seed(0))
    found = guide(codes)
    assert found.codes.shape == found.trust.shape == codes.shape
    assert guide.gaussians is not None
    assert guide.gaussians.centres.shape == (2, 4 * 16 * 16, 3)
    # The network knows cameras in pixels of any size: those of the row, or those of the picture.
    large = guide_of(torch.from_numpy(orbit_cameras(8, 64)).expand(2, -1, -1))
    assert torch.equal(large(codes).codes, found.codes)
    # A patch is trusted by how much of it the reconstruction covers.
    K, c2w = guide._intrinsics(32), guide.c2w
    alpha = rasterise(guide.gaussians, K, c2w, (32, 32)).alpha
    torch.testing.assert_close(found.trust, alpha.view(2, 8, 2, 16, 2, 16).mean((3, 5)).flatten(2), atol=1e-5, rtol=0)
    assert 0 < float(found.trust.min()) < float(found.trust.max()) < 1


def test_what_is_not_trusted_pulls_nothing() -> None:
    """At a place of trust 0 the guide's weight is nothing, at one of trust 1 all of it."""
    codes = torch.randint(16, (3, 8), generator=torch.Generator().manual_seed(1))
    found = _towards(Agreement(codes, torch.tensor([0.0, 1.0] * 4).expand(3, -1)), Guide(lambda c: c, 1, weight=8.0))
    assert found is not None and torch.equal(found[0], codes)
    assert found[1][..., 0].tolist() == [[0.0, 8.0] * 4] * 3


def test_views_that_cannot_be_reconstructed_are_refused() -> None:
    cameras = torch.from_numpy(orbit_cameras(8))[None]
    with pytest.raises(UsageError, match="needs 4 views, there are 2"):
        guide_of(cameras[:, ::4])
    parallel = cameras.clone()
    parallel[0, 5, ORTHOGRAPHIC] = 1
    with pytest.raises(UsageError, match="view 5 is orthographic"):
        guide_of(parallel)
    assert math.isclose(float(cameras[0, 0, 9 + 3]), 1.5 * math.cos(math.pi / 6), rel_tol=1e-6)


def test_what_is_not_trusted_is_not_decided_anew() -> None:
    """A guide that trusts nothing leaves the sample as it would be without one."""
    torch.manual_seed(0)
    model = ViewModel(CONFIG).eval()
    hidden = torch.full((8, 4, 4), CONFIG.mask)
    text, cameras = torch.zeros(8, 2, dtype=torch.long), torch.from_numpy(orbit_cameras(4)).expand(8, -1, -1)

    def drawn(guide: Guide | None) -> torch.Tensor:
        return generate(model, text, hidden, cameras, Sampling(8, method="halton", temperature=0.0), 0, guide=guide)

    def doubted(trust: float) -> Guide:
        return Guide(lambda codes: Agreement(torch.zeros_like(codes), torch.full(codes.shape, trust)), 2, after=0.0)

    assert torch.equal(drawn(doubted(0.0)), drawn(None))
    assert not torch.equal(drawn(doubted(1.0)), drawn(None))
