"""A reconstructor's weights in a file, and the one that ships."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError, UsageError
from dataengine.training.reconstruct.network import Reconstructor, ReconstructorConfig

SHIPPED = "small"
FOLDER = Path(__file__).parent.parent / "weights" / "reconstructor"
METADATA = "dataengine.reconstructor/2"  # key in the file's header, which says what the network is and how it was made
FORMER = "dataengine.reconstructor/1"  # without a second network


def save_reconstructor(model: Reconstructor, file: Path, report: Mapping[str, Any]) -> None:
    """Writes weights in half precision, whole or not at all. The report is JSON types only."""
    tensors = {k: v.half().cpu().contiguous() for k, v in model.state_dict().items()}
    header = {METADATA: json.dumps({"config": model.config.as_dict(), "report": report})}
    Store(file.parent).put(file.name, save(tensors, header))


def load_reconstructor(weights: str | Path | None = None, device: str | torch.device = "cpu") -> Reconstructor:
    """In eval mode.

    Args:
        weights: a file, or the name of weights that come with the package; None: those.

    Raises:
        UsageError: if there is no such file.
        DataengineError: if the file is damaged or holds something else.
    """
    path = Path(weights) if weights is not None else Path(SHIPPED)
    if not path.exists() and (len(path.parts) == 1 and not path.suffix):
        shipped = FOLDER / f"{path}.safetensors"
        if not shipped.exists():
            raise UsageError(
                f"there are no weights {path} of the reconstructor: `dataengine reconstructor fit CORPUS -o FILE` "
                "makes some"
            )
        path = shipped
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    try:
        with safe_open(path, "pt") as file:
            told = _told(file.metadata() or {})
        if told is None:
            raise DataengineError(f"{path} was not written by `dataengine reconstructor fit`")
        config = ReconstructorConfig.from_dict(json.loads(told)["config"])
        model = Reconstructor(config)
        model.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as e:
        raise DataengineError(f"{path} holds no reconstructor that this version can read: {e}") from e
    return model.to(device).eval().requires_grad_(False)


def report_of(weights: Path) -> dict[str, Any]:
    """How a file's weights were made, as `save_reconstructor` was told."""
    with safe_open(weights, "pt") as file:
        report: dict[str, Any] = json.loads(_told(file.metadata()) or "")["report"]
    return report


def _told(header: Mapping[str, str]) -> str | None:
    return header.get(METADATA, header.get(FORMER))
