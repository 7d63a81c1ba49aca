"""Checkpoints: a folder per step, complete or absent.

    RUN/<stage>/checkpoints/00000200/model.safetensors      weights
                                     ema.safetensors        their moving average, what sampling uses
                                     optimizer.safetensors  Adam's moments
                                     state.json             step, place in the data, model, tokenizers

A checkpoint is written aside and renamed, so a kill or a full disk leaves the one before. It holds whole tensors,
however the run was sharded, so another number of ranks can go on from it.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from dataengine.corpus.os_errors import explain
from dataengine.corpus.storage import sync
from dataengine.errors import DataengineError, UsageError
from dataengine.training.config import STAGES
from dataengine.training.model.config import ModelConfig

FOLDER = "checkpoints"
WEIGHTS = Path(__file__).parent / "weights"
"""Models that ship with the package, a folder each: averaged weights in bfloat16; docs/training.md says how they were
made. The folder's name stands for the model wherever a run is asked for."""
PACKAGED = WEIGHTS / "nano"


@dataclass(frozen=True)
class RunState:
    """What a run is and how far it has come.

    Attributes:
        step: optimizer steps done.
        epoch, samples: of the data stream.
        model: configuration of the model.
        tokenizer: the spec of the tokenizer whose codes it knows, as the shards have it.
        text: SHA-256 of the text tokenizer.
        cameras: (views, 30) of the first sample, as in cameras.npy: the rig that the run knows.
        settings: the trainer's configuration; of models that ship, what says how they were made.
        pictures: epoch and samples of the stream of pictures that were mixed in; None where none were.
        captions: hash of its samples' captions, see `SampleIndex.captions_hash`; None in runs of earlier versions.
        sampling: by task, the fields of `Sampling` that suit it best, see `sampling_of`; of models that ship, and of
            runs that began with one.
    """

    step: int
    epoch: int
    samples: int
    model: ModelConfig
    tokenizer: Mapping[str, Any]
    text: str
    cameras: list[list[float]]
    settings: Mapping[str, Any]
    pictures: Sequence[int] | None = None
    captions: str | None = None
    sampling: Mapping[str, Mapping[str, Any]] | None = None

    @property
    def stage(self) -> str:
        """The stage that the weights were last trained for."""
        return str(self.settings["stage"])


def is_shipped(run: Path) -> bool:
    """Whether a run is meant to be a model that ships: it is called like one, and there is no such folder here."""
    return len(run.parts) == 1 and (WEIGHTS / run / "state.json").exists() and not run.exists()


def latest(run: Path, stage: str) -> Path | None:
    """The newest complete checkpoint of a stage, if there is one."""
    folder = run / stage / FOLDER
    found = sorted(p for p in folder.glob("[0-9]*") if (p / "state.json").exists()) if folder.is_dir() else []
    return found[-1] if found else None


def newest_stage(run: Path, wanted: tuple[str, ...] = tuple(reversed(STAGES))) -> Path:
    """The newest checkpoint of the first of the stages that has one; of `nano`, the weights that ship.

    Raises:
        UsageError: if none has.
    """
    if is_shipped(run):
        stage = read_state(WEIGHTS / run).stage
        if stage in wanted:
            return WEIGHTS / run
        raise UsageError(f"{run}, which ships, was trained for {stage}, not for {' or '.join(wanted)}")
    for stage in wanted:
        found = latest(run, stage)
        if found:
            return found
    raise UsageError(f"{run} has no checkpoint of {' or '.join(wanted)}; `dataengine train {run} …` makes one")


def read_state(checkpoint: Path) -> RunState:
    """Raises UsageError if there is no checkpoint, DataengineError if it is damaged."""
    if not (checkpoint / "state.json").exists():
        raise UsageError(f"{checkpoint} is no folder of a checkpoint, such as RUN/i2mv/checkpoints/00001000")
    try:
        data = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
        return RunState(**{**data, "model": ModelConfig.from_dict(data["model"])})
    except (OSError, ValueError, TypeError, KeyError) as e:
        raise DataengineError(f"{checkpoint} is no checkpoint that this version can read: {e}") from e


def save(
    run: Path,
    stage: str,
    state: RunState,
    model: nn.Module,
    ema: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    write: bool = True,
    keep: int = 2,
) -> Path:
    """Writes a checkpoint and drops all but the newest ones. Every rank calls it, one writes.

    Raises:
        DataengineError: if the disk is full or cannot be written; the checkpoints before are untouched.
    """
    tensors = {"model": _parameters(model), "ema": _parameters(ema), "optimizer": _moments(model, optimizer)}
    folder = run / stage / FOLDER
    final = folder / f"{state.step:08d}"
    if not write or final.exists():
        return final
    temporary = folder / f".{final.name}.tmp"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, content in tensors.items():
            save_file(content, temporary / f"{name}.safetensors")
        said = {name: value for name, value in vars(state).items() if value is not None}
        text = json.dumps({**said, "model": state.model.as_dict()}, indent=1, default=str)
        (temporary / "state.json").write_text(text, encoding="utf-8")
        for file in [*temporary.iterdir(), temporary]:
            sync(file)
        temporary.replace(final)
        sync(folder)
    except (OSError, SafetensorError) as e:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = explain(e, str(final)) if isinstance(e, OSError) else f"{final}: {e}"
        kept = latest(run, stage)
        raise DataengineError(f"{reason} (the last good checkpoint is {kept.name if kept else 'none'})") from e
    for old in sorted(folder.glob("[0-9]*"))[:-keep]:
        shutil.rmtree(old)
    return final


def load_weights(checkpoint: Path, module: nn.Module, kind: str = "ema") -> None:
    """Fills a module, sharded or not, with `model` or `ema`.

    Raises:
        DataengineError: if the file is missing or damaged, or a tensor is missing, left over or of another shape.
    """
    tensors = _load(checkpoint / f"{kind}.safetensors")
    parameters = dict(module.named_parameters())
    wrong = sorted(tensors.keys() ^ parameters.keys())
    wrong += [n for n in parameters.keys() & tensors.keys() if tensors[n].shape != parameters[n].shape]
    if wrong:
        raise DataengineError(f"{checkpoint / kind}.safetensors does not fit the model at {wrong[0]}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(_like(tensors[name], parameter))


def load_optimizer(checkpoint: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Gives Adam its moments back, to the bit."""
    tensors = _load(checkpoint / "optimizer.safetensors")
    names = {id(p): n for n, p in module.named_parameters()}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for i, p in enumerate(parameters):
        own = {key.rsplit("/", 1)[1]: t for key, t in tensors.items() if key.rsplit("/", 1)[0] == names[id(p)]}
        state[i] = {key: t if t.ndim == 0 else _like(t, p) for key, t in own.items()}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _load(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as e:
        raise DataengineError(f"{file} cannot be read: {e}") from e


def _parameters(module: nn.Module) -> dict[str, Tensor]:
    return {name: _whole(p) for name, p in module.named_parameters()}


def _moments(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": _whole(value)
        for name, p in module.named_parameters()
        for key, value in optimizer.state.get(p, {}).items()
    }


def _whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor on the CPU; collective where it is sharded."""
    tensor = tensor.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).cpu().contiguous()


def _like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor, on the device of a parameter and sharded like it."""
    tensor = tensor.to(parameter.device)
    if isinstance(parameter, DTensor):
        return distribute_tensor(tensor, parameter.device_mesh, parameter.placements)
    return tensor
