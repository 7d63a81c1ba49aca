"""What a training stage hides of a batch: the paper's three stages by masking.py, `complete` by completion.py."""

from torch import Tensor

from dataengine.training.completion import completion_randoms, mask_for_completion, views_per_sample
from dataengine.training.config import LossWeight, MaskSchedule, TrainStage
from dataengine.training.data.stream import StreamState
from dataengine.training.masking import MaskedBatch, mask_batch, randoms_per_sample


def stage_randoms(stage: TrainStage, views: int, tokens: int) -> int:
    """How many random numbers a sample needs. `views` as the corpus has them, `tokens` per view."""
    return completion_randoms(views, tokens) if stage == "complete" else randoms_per_sample(views, tokens)


def mask_for_stage(
    tokens: Tensor,
    uniforms: Tensor,
    mask: int,
    *,
    stage: TrainStage,
    seed: int,
    position: StreamState,
    schedule: MaskSchedule,
    weight: LossWeight,
    drop_text: float,
) -> MaskedBatch:
    """Hides tokens as the stage does.

    Args:
        tokens: (B, views, rows, columns) of whole samples.
        uniforms: (B, `stage_randoms`) in [0, 1).
        mask: the id of a hidden token.
        seed, position: of the stream: they decide how many views `complete` takes, the same for a whole global batch.
        schedule, weight, drop_text: see `mask_batch`.
    """
    if stage != "complete":
        return mask_batch(
            tokens, uniforms, mask, stage=stage, schedule=schedule, weight=weight, drop_text=drop_text
        )  # fmt: skip
    count = views_per_sample(seed, position.epoch, position.samples, tokens.shape[1])
    return mask_for_completion(
        tokens, uniforms, mask, count=count, schedule=schedule, weight=weight, drop_text=drop_text
    )  # fmt: skip
