"""A network in training, the moving average of its weights, its optimizer and its step: what every fit here shares."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from dataengine.processor import multiplies_bfloat16

M = TypeVar("M", bound=nn.Module)


class AveragedRun(Generic[M]):
    """AdamW on a model, whose average is what is kept.

    Args:
        model: on its device.
        params: its parameters, or groups of them, as AdamW takes them.
        learning_rate, betas, weight_decay: AdamW's.
        decay: of the average, at most.

    Attributes:
        average: the model with averaged weights, in eval mode.
        step: how many were done.
    """

    def __init__(
        self,
        model: M,
        params: Iterable[Any],
        *,
        learning_rate: float,
        betas: tuple[float, float],
        weight_decay: float,
        decay: float,
    ) -> None:
        self.model = model.train()
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        self.device = next(model.parameters()).device
        on_cuda = self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(params, learning_rate, betas, weight_decay=weight_decay, fused=on_cuda)
        self.autocast = autocast(self.device)
        self.step = 0
        self._decay = decay

    def descend(self, loss: Tensor) -> None:
        """One step down the loss's gradient, whose norm is held at 1, and of the average."""
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(self._decay, self.step / (self.step + 10))  # an average of few is not held back by the first
        with torch.no_grad():  # or the average would keep the graph of every step
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)

    def state(self) -> dict[str, Any]:
        """Everything that `resume` needs, not copied."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Takes up a run that was kept. Raises RuntimeError, LookupError or TypeError if its network differs."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def autocast(device: torch.device) -> torch.autocast:
    """What networks train in: bfloat16 on CUDA and on processors that multiply it, elsewhere nothing changes."""
    half = device.type == "cuda" or (device.type == "cpu" and multiplies_bfloat16())
    return torch.autocast(device.type, torch.bfloat16, enabled=half)
