import math
from dataclasses import replace

import pytest
import torch

from dataengine.errors import UsageError
from dataengine.training.config import MaskSchedule, TrainStage
from dataengine.training.masking import choose_views, loss_of, loss_weight, mask_batch, mask_ratio, randoms_per_sample
from dataengine.training.model.codes import CodeHead
from dataengine.training.model.config import CAMERA_INPUTS, SIZES, CameraInput, ModelConfig, preset
from dataengine.training.model.view_model import ViewModel

from .synthetic import orbit_cameras

CONFIG = ModelConfig(width=64, layers=2, bits=5, grid=(2, 3), text_vocabulary=50, text_length=4)


def orbit(batch: int, views: int) -> torch.Tensor:
    return torch.from_numpy(orbit_cameras(views)).expand(batch, -1, -1)


def masked_batch(stage: TrainStage = "i2mv", schedule: MaskSchedule = "uniform", batch: int = 64, **more: float):  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    tokens = torch.randint(0, 32, (batch, 8, 2, 3))
    uniforms = torch.rand(batch, randoms_per_sample(8, 6))
    uniforms[:, 0] = (torch.arange(batch) + 0.5) / batch
    return mask_batch(
        tokens, uniforms, 32, stage=stage, schedule=schedule, weight="none", drop_text=0.1, **more
    ), tokens


@pytest.mark.parametrize("bits", [5, 13, 14, 18])
def test_big_codebooks_cost_no_big_tables(bits: int) -> None:
    config = ModelConfig(width=64, layers=1, bits=bits, grid=(2, 3), text_vocabulary=50, text_length=4)
    model = ViewModel(config)
    if bits > 13:
        assert max(p.numel() for p in model.parameters()) <= 1 << 16
    codes = torch.randint(0, 1 << bits, (2, 4, 6))
    codes[0, 0, 0], codes[0, 0, 1] = 0, (1 << bits) - 1
    features = model(torch.zeros(2, 4, dtype=torch.long), codes, orbit(2, 4))
    assert features.shape == (2, 4, 6, 64)
    assert torch.equal(model.head.join(model.head.split(codes)), codes)
    masked = torch.rand(2, 4, 6) < 0.5
    nll = model(torch.zeros(2, 4, dtype=torch.long), codes.masked_fill(masked, config.mask), orbit(2, 4), codes, masked)
    assert nll.shape == (int(masked.sum()),)
    assert abs(nll.mean().item() - bits * math.log(2)) < 0.5
    nll.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_two_parts_are_one_distribution() -> None:
    torch.manual_seed(1)
    head = CodeHead(64, 14)
    torch.nn.init.normal_(head.first.weight)
    torch.nn.init.normal_(head.mix.down.weight)
    x = torch.randn(1, 64).expand(1 << 14, -1)
    with torch.no_grad():
        total = torch.cat([(-head.nll(x[:2048], c)).exp() for c in torch.arange(1 << 14).split(2048)]).sum()
    assert abs(total.item() - 1) < 1e-4


def test_the_size_presets_grow_to_a_billion() -> None:
    with torch.device("meta"):
        counts = {
            size: sum(
                p.numel()
                for p in ViewModel(
                    preset(size, bits=18, grid=(16, 16), text_vocabulary=2048, text_length=32)
                ).parameters()
            )
            for size in SIZES
        }
    assert list(counts.values()) == sorted(counts.values())
    assert counts["nano"] < 2e6
    assert 1e9 < counts["1b"] < 1.2e9
    with pytest.raises(UsageError, match="no model size 'giant'"):
        preset("giant")


@pytest.mark.parametrize("camera", CAMERA_INPUTS)
def test_cameras_matter_where_the_model_is_told_of_them(camera: CameraInput) -> None:
    text, codes = torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 4, 6, dtype=torch.long)
    here, there = orbit(1, 4), orbit(1, 8)[:, :4]
    model = ViewModel(replace(CONFIG, camera=camera))
    if camera in ("matrix", "rays"):  # nothing at the start of training
        assert torch.equal(model(text, codes, here), model(text, codes, there))
        torch.nn.init.normal_(model.camera.leave.weight)
    assert torch.equal(model(text, codes, here), model(text, codes, there)) == (camera == "none")


def test_any_number_of_views_fits() -> None:
    model = ViewModel(CONFIG)
    for views in (1, 4, 8):
        codes = torch.zeros(2, views, 6, dtype=torch.long)
        assert model(torch.zeros(2, 4, dtype=torch.long), codes, orbit(2, views)).shape == (2, views, 6, 64)


def test_checkpointing_changes_no_gradient() -> None:
    (masked, _), text = masked_batch(batch=8), torch.zeros(8, 4, dtype=torch.long)
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = ViewModel(CONFIG, checkpointing)
        loss_of(model(text, masked.codes, orbit(8, 4), masked.targets, masked.masked), masked).backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize(("schedule", "mean"), [("uniform", 0.5), ("cosine", 2 / math.pi), ("arccos", 2 / math.pi)])
def test_mask_schedules(schedule: MaskSchedule, mean: float) -> None:
    t = (torch.arange(10_000) + 0.5) / 10_000
    ratio = mask_ratio(t, schedule)
    assert ((ratio >= 0) & (ratio <= 1)).all()
    assert abs(ratio.mean().item() - mean) < 1e-3


@pytest.mark.parametrize(("stage", "views", "maskable"), [("pretrain", 1, 6), ("i2mv", 4, 18), ("t2mv", 4, 24)])
def test_games_of_the_stages(stage: TrainStage, views: int, maskable: int) -> None:
    masked, tokens = masked_batch(stage, drop_reference=0.0)
    assert masked.codes.shape == (64, views, 6)
    assert masked.maskable == maskable
    assert torch.equal(masked.codes == 32, masked.masked)
    assert torch.equal(masked.targets, tokens.flatten(2)[torch.arange(64)[:, None], masked.views])
    amount = masked.masked.flatten(1).sum(1)
    assert torch.equal(amount, ((torch.arange(64) + 0.5) / 64 * maskable).round().clamp(min=1).long())
    if stage == "i2mv":
        assert not masked.masked[:, 0].any()


def test_a_dropped_reference_is_hidden_but_not_predicted() -> None:
    masked, _ = masked_batch(drop_reference=1.0)
    assert (masked.codes[:, 0] == 32).all()
    assert not masked.masked[:, 0].any()


def test_views_are_evenly_spaced_or_free() -> None:
    uniforms = torch.rand(500, 10)
    views = choose_views(uniforms[:, 0], uniforms[:, 1] < 0.5, uniforms[:, 2:], 4)
    even = uniforms[:, 1] < 0.5
    assert ((views[even] - views[even][:, :1]) % 8 == torch.tensor([0, 2, 4, 6])).all()
    assert all(len(set(v)) == 4 for v in views.tolist())
    assert len(set(map(tuple, views[~even].tolist()))) > 150


def test_weights() -> None:
    ratio = torch.tensor([0.25, 1.0])
    assert loss_weight(ratio, "none").tolist() == [1, 1]
    assert loss_weight(ratio, "inverse").tolist() == [4, 1]


def test_a_stage_needs_its_views() -> None:
    with pytest.raises(UsageError, match="stage t2mv needs 4 views per sample, the corpus has 3"):
        mask_batch(
            torch.zeros(1, 3, 2, 3, dtype=torch.long), torch.rand(1, 40), 32,
            stage="t2mv", schedule="cosine", weight="none", drop_text=0,
        )  # fmt: skip
