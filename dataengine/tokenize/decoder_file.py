"""The file of a depth-guided decoder: half-precision tensors, and in the header what they belong to."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from dataengine.corpus.output import whole_file
from dataengine.errors import DataengineError, UsageError
from dataengine.tokenize.checkpoint import METADATA, read_tensors
from dataengine.tokenize.depth_guided import DepthGuidedDecoder, Guidance
from dataengine.tokenize.given_pixels import CARRIED
from dataengine.tokenize.model import Tokenizer

KIND = "depth-guided decoder"
FORMAT = 4
ENTER = "edges.enter.weight"
SHIPPED = Path(__file__).parent / "weights" / "decoders"  # by the tokenizer's name


def save_decoder(model: DepthGuidedDecoder, path: Path, report: Mapping[str, Any] | None = None) -> None:
    """Writes a decoder, its numbers rounded to half precision.

    Args:
        path: `.safetensors`.
        report: more to tell in the header: how it was trained.
    """
    header = {
        "kind": KIND,
        "format": FORMAT,
        "tokenizer": model.spec.name,
        "weights_sha256": model.spec.weights_sha256,
        "guidance": model.guidance.to_json(),
        **(report or {}),
    }
    tensors = {k: v.half().cpu().contiguous() if v.is_floating_point() else v for k, v in _own(model).items()}
    with whole_file(path) as file:
        file.write(save(tensors, {METADATA: json.dumps(header)}))


def load_decoder(path: Path, tokenizer: Tokenizer) -> DepthGuidedDecoder:
    """A decoder for the codes of a tokenizer, in eval mode on the tokenizer's device.

    Args:
        path: a file, or the name of a tokenizer whose decoder ships: `small`. A file of that name goes before it.

    Raises:
        UsageError: if there is no such file, or it decodes other codes.
        DataengineError: if the file is damaged, is no decoder's, or was written by a later version.
    """
    path = _found(path)
    tensors, header = read_tensors(path)
    told = _told(header, path)
    if told["weights_sha256"] != tokenizer.spec.weights_sha256:
        raise UsageError(
            f"{path} decodes tokens of {told['tokenizer']} ({str(told['weights_sha256'])[:16]}…), not those of "
            f"{tokenizer.spec.name} ({str(tokenizer.spec.weights_sha256)[:16]}…): fit one with `dataengine decoder fit`"
        )
    model = DepthGuidedDecoder(tokenizer, _guidance(told["guidance"], path))
    if told["format"] < 4 and (enter := tensors.get(ENTER)) is not None:
        tensors = {**tensors, ENTER: F.pad(enter, (0, 0, 0, 0, 0, CARRIED))}  # it did not see what is carried
    _compare(tensors, _own(model), path)
    model.load_state_dict({**model.state_dict(), **tensors})
    return model.to(next(tokenizer.parameters()).device).eval()


def _found(path: Path) -> Path:
    shipped = SHIPPED / f"{path}.safetensors"
    if not path.is_file() and len(path.parts) == 1 and shipped.is_file():
        return shipped
    if not path.is_file():
        raise UsageError(f"{path} is not a file; `dataengine decoder fit` writes decoders, and `small` comes with one")
    return path


def _own(model: DepthGuidedDecoder) -> dict[str, Tensor]:
    """What a file holds: all but a decoder that was left as it is, which the tokenizer has."""
    left = "decoder." if model.guidance.after_decoding else None
    return {name: tensor for name, tensor in model.state_dict().items() if not (left and name.startswith(left))}


def _told(header: Mapping[str, str], path: Path) -> dict[str, Any]:
    try:
        told = dict(json.loads(header[METADATA]))
        wanted = {name: told[name] for name in ("kind", "format", "tokenizer", "weights_sha256", "guidance")}
    except (KeyError, TypeError, ValueError) as e:
        raise DataengineError(f"{path} is not a decoder that `dataengine decoder fit` has written") from e
    if wanted["kind"] != KIND:
        raise DataengineError(f"{path} is a {wanted['kind']}, not a {KIND}")
    if wanted["format"] not in range(1, FORMAT + 1):
        raise DataengineError(f"{path} is of format {wanted['format']}, this version reads {FORMAT}: update dataengine")
    return wanted


def _guidance(told: Any, path: Path) -> Guidance:
    try:
        guidance = Guidance(
            tuple(int(n) for n in told["points"]),
            tuple(int(n) for n in told["widths"]),
            float(told["reach"]),
            bool(told["full"]),
            int(told.get("carried", 0)),  # format 1 has none
            int(told.get("edges", 0)),  # formats 1 and 2 have none
        )
    except (KeyError, TypeError, ValueError) as e:
        raise DataengineError(f"{path} says nothing that can be read of its layers") from e
    if any(not 0 <= n <= 1024 for n in (*guidance.points, *guidance.widths, guidance.carried, guidance.edges)):
        raise DataengineError(f"{path} asks for layers of {guidance.points} points and {guidance.widths} channels")
    return guidance


def _compare(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> None:
    if differ := sorted(tensors.keys() ^ wanted.keys()):
        has = "has" if differ[0] in tensors else "lacks"
        raise DataengineError(f"{path} {has} {differ[0]!r}, which such a decoder {'lacks' if has == 'has' else 'has'}")
    for name, tensor in wanted.items():
        if tensors[name].shape != tensor.shape:
            raise DataengineError(
                f"{path}: {name!r} has shape {tuple(tensors[name].shape)}, the decoder {tuple(tensor.shape)} there"
            )
        if tensors[name].is_floating_point() and not torch.isfinite(tensors[name]).all():
            raise DataengineError(f"{path}: {name!r} has values that are not numbers")
