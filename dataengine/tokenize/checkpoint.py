"""Strict loading of the published files. Every name and shape must be as published; what does not fit is named.

Files are told apart by their content, not by their name. Pickles are read with `weights_only=True`: tensors and plain
containers or nothing; code in a pickle is refused, and not run.
"""

import functools
import hashlib
import json
import pickle
import re
import warnings
from collections.abc import Mapping, Set
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dataengine.corpus.os_errors import explain
from dataengine.errors import DataengineError, UsageError
from dataengine.tokenize.model import WIDTHS, Tokenizer, build, with_spec
from dataengine.tokenize.spec import Weights

PUBLISHED = {
    "open-magvit2-256": "hf://TencentARC/Open-MAGVIT2-Tokenizer-256-resolution/imagenet_256_L.ckpt",
    "open-magvit2-128": "hf://TencentARC/Open-MAGVIT2-Tokenizer-128-resolution/imagenet_128_L.ckpt",
    "show-o": "hf://showlab/magvitv2/pytorch_model.safetensors",
    "wetok-16": "hf://GrayShine/WeTok/ImageNet/downsample16/WeTok.ckpt",
    "wetok-8": "hf://GrayShine/WeTok/ImageNet/downsample8/WeTok.ckpt",
    "llamagen-16": "hf://FoundationVision/LlamaGen/vq_ds16_c2i.pt",
    "llamagen-8": "hf://FoundationVision/LlamaGen/vq_ds8_c2i.pt",
    "ibq-16384": "hf://TencentARC/IBQ-Tokenizer-16384/imagenet256_16384.ckpt",
    "ibq-262144": "hf://TencentARC/IBQ-Tokenizer-262144/imagenet256_262144.ckpt",
    "emu3.5": "hf://BAAI/Emu3.5-VisionTokenizer/model.ckpt",
    "amused": "hf://amused/amused-512/vqvae/diffusion_pytorch_model.safetensors",
}

SHIPPED = ("small", "small-12")
"""Weights that come with the package. What an earlier version called `small` is `small-12`; see `shipped_as`."""

EMA = "model_ema."
EMA_COUNTERS = {"model_ema.decay", "model_ema.num_updates"}
TRAINING_ONLY = ("loss.", f"{EMA}loss")  # discriminator and perceptual network, in checkpoints that were not stripped
METADATA = "dataengine"  # key of our own files' widths in a safetensors header


def load(name: str, weights: str | Path | None = None, *, use: Weights | None = None, **widths: Any) -> Tokenizer:
    """A tokenizer with its weights, in eval mode on the CPU.

    Args:
        name: as for `build`.
        weights: a file, `hf://owner/repository[@revision]/file`, or the name of weights that come with the package (see
            `shipped_as`); None: the shipped ones for ours, else the published ones from the Hugging Face hub.
        use: `raw` or `ema`, for Open-MAGVIT2's, WeTok's and IBQ's files, which hold both; None: `ema`, what their
            authors evaluate. (Open-MAGVIT2's language models were trained on codes of the raw weights.) The others hold
            one set, called `raw`.
        widths: of a network that is not the published one, as for `build`.

    Raises:
        UsageError: if the name, a width or `use` does not exist, or there is no such file.
        DataengineError: if the file is damaged, holds more than tensors, or is not of this tokenizer.
    """
    if name not in WIDTHS:
        build(name)
    path = _locate(name, weights)
    state, header = read_tensors(path)
    network = name
    if METADATA in header:
        network, own = _own_network(header, path)
        if network != name and (name, network) != ("small", "small-12"):  # which was called small once
            raise DataengineError(f"{path} is a file of {network}, not of {name}")
        if other := next((k for k, v in widths.items() if k in own and _as_in(v) != _as_in(own[k])), None):
            raise DataengineError(f"{path} was fitted with {other} {own[other]}, not {widths[other]}")
        widths = widths or own
    elif name in SHIPPED:
        raise DataengineError(
            f"{path} was not written by `dataengine tokenizer fit`, as files of {name} are: it holds "
            f"{next(iter(state), 'nothing')!r}{_more(list(state))}"
        )
    has_ema = name.startswith(("open-magvit2", "wetok", "ibq")) and METADATA not in header
    if use == "ema" and not has_ema:
        raise UsageError(f"the file of {name} holds one set of weights: leave out the choice of raw or ema")
    chosen: Weights = use or ("ema" if has_ema else "raw")
    tokenizer = build(network, **widths)
    wanted = tokenizer.state_dict()
    state = {k: v for k, v in state.items() if not k.startswith(TRAINING_ONLY)}
    sets = _split_ema(state, wanted, path) if has_ema else {"raw": state}
    for present in sets.values():
        _compare(present, wanted, path, name)
    if chosen not in sets:
        other = next(iter(sets), None)
        raise DataengineError(
            f"{path} holds no {chosen} weights" + (f", only {other}: choose {other}" if other else f" of {name}")
        )
    _check_tables(sets[chosen], wanted, path)
    tokenizer.load_state_dict(sets[chosen])
    return with_spec(tokenizer, name=name, weights=chosen, weights_sha256=weights_sha256(tokenizer))


def shipped_as(sha256: str | None) -> str | None:
    """The name under which weights of this hash come with the package; None if they do not.

    So what was made with the weights of an earlier version finds them again, whatever a tokenizer's name means today.
    """
    return _shipped().get(sha256 or "")


@functools.cache
def _shipped() -> dict[str, str]:
    """Names by hash, from the reports beside the files."""
    reports = {name: files("dataengine.tokenize") / "weights" / f"{name}.json" for name in SHIPPED}
    return {json.loads(report.read_text())["weights_sha256"]: name for name, report in reports.items()}


def missing_names(name: str, present: Set[str]) -> list[str]:
    """The tensors of a tokenizer that are not among the names of a published file, in any of its sets of weights."""
    return [key for key in _names(name) if not {key, EMA + key.replace(".", "")} & present]


@functools.lru_cache
def _names(name: str) -> tuple[str, ...]:
    with torch.device("meta"):
        return tuple(build(name).state_dict())


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file or of a torch checkpoint, and the former's metadata.

    Raises:
        DataengineError: if it is damaged, or no file of tensors, or holds code.
    """
    try:
        with path.open("rb") as f:
            head = f.read(9)
    except OSError as e:
        raise DataengineError(explain(e, str(path))) from e
    return _read_safetensors(path) if head[8:] == b"{" else (_named_tensors(path), {})


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as f:
            metadata = f.metadata() or {}
        return safetensors.torch.load_file(path), metadata
    except SafetensorError as e:
        raise DataengineError(f"{path} is no safetensors file, or is damaged or cut short: {_first_line(e)}") from e


def write_pickle(path: Path, content: Any) -> None:
    """Writes what `read_pickle` reads, whole or not at all, and its folder where that is not there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    torch.save(content, temporary)
    temporary.replace(path)


def read_pickle(path: Path) -> Any:
    """What a torch checkpoint holds, on the CPU: tensors and plain containers of them.

    Raises:
        DataengineError: if it is damaged, or holds code.
    """
    damaged = f"{path} is no checkpoint, or is damaged or cut short"
    try:
        # Opened here, or torch would judge by the file's name.
        with path.open("rb") as file, warnings.catch_warnings():  # of pickle protocols that torch does not write
            warnings.simplefilter("ignore")
            content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        if found := re.search(r"GLOBAL (\S+)", str(e)):
            raise DataengineError(
                f"{path} holds more than tensors ({found[1]}): refused, and nothing of it was run"
            ) from e
        raise DataengineError(f"{damaged}; nothing of it was run") from e
    except (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError, OSError) as e:
        # What torch raises depends on where the damage is.
        raise DataengineError(damaged) from e
    return content


def _named_tensors(path: Path) -> dict[str, Tensor]:
    content = read_pickle(path)
    if isinstance(content, Mapping):
        content = next((content[k] for k in ("state_dict", "model") if isinstance(content.get(k), Mapping)), content)
    if not isinstance(content, Mapping):
        raise DataengineError(f"{path} holds a {type(content).__name__}, not named tensors")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise DataengineError(f"{path} holds {key!r}, which is not a tensor")
    return dict(content)


def _split_ema(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path
) -> dict[Weights, dict[str, Tensor]]:
    """Raw and EMA sets under the module's own names. EMA names have lost their dots, so they are made from those."""
    names = {EMA + name.replace(".", ""): name for name in wanted}
    raw = {k: v for k, v in state.items() if not k.startswith(EMA)}
    ema = {k: v for k, v in state.items() if k.startswith(EMA) and k not in EMA_COUNTERS}
    if unknown := sorted(ema.keys() - names.keys()):
        raise DataengineError(f"{path} has {unknown[0]!r}, which this tokenizer does not" + _more(unknown))
    sets: dict[Weights, dict[str, Tensor]] = {}
    if raw:
        sets["raw"] = raw
    if ema:
        if missing := [e for e in names if e not in ema]:
            raise DataengineError(f"{path} lacks {missing[0]!r}" + _more(missing))
        sets["ema"] = {names[k]: v for k, v in ema.items()}
    return sets


def _compare(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path, name: str) -> None:
    if not state.keys() & wanted.keys():
        raise DataengineError(
            f"{path} is not a file of {name}: none of its {len(state)} tensors has a name of this network"
        )
    if missing := [k for k in wanted if k not in state]:
        other = "; is it a file of another tokenizer?" if len(missing) > len(wanted) // 10 else ""
        raise DataengineError(f"{path} lacks {missing[0]!r}, which {name} has" + _more(missing) + other)
    if unknown := [k for k in state if k not in wanted]:
        raise DataengineError(f"{path} has {unknown[0]!r}, which {name} does not" + _more(unknown))
    for key, tensor in wanted.items():
        if state[key].shape != tensor.shape:
            raise DataengineError(
                f"{path}: {key!r} has shape {tuple(state[key].shape)}, {name} has {tuple(tensor.shape)} there"
            )
        if state[key].is_floating_point() != tensor.is_floating_point():
            raise DataengineError(f"{path}: {key!r} is of {state[key].dtype}, {name} has {tensor.dtype} there")


def _check_tables(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> None:
    """Show-o's file brings the quantizer's tables; other values would mean another order of the bits."""
    for key in ("quantize.embedding", "quantize.power_vals"):
        if key in wanted and not torch.equal(state[key], wanted[key]):
            raise DataengineError(f"{path}: {key!r} is not the table that its codes are read with")


def weights_sha256(tokenizer: Tokenizer) -> str:
    """Hex digest over names, shapes and values of all parameters: the same for the same weights in any file."""
    digest = hashlib.sha256()
    for key, tensor in sorted(tokenizer.state_dict().items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{key} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.numpy().data)
    return digest.hexdigest()


def _as_in(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _own_network(header: Mapping[str, str], path: Path) -> tuple[str, dict[str, Any]]:
    """Of a file that `fit` wrote: which network it is and the widths it was trained with."""
    try:
        content = json.loads(header[METADATA])
        name, widths = str(content["name"]), dict(content["widths"])
    except (KeyError, TypeError, ValueError) as e:
        raise DataengineError(
            f"{path} says nothing of its network; was it written by `dataengine tokenizer fit`?"
        ) from e
    return ("small-12" if name == "small" and "ch" in widths else name), widths


def _locate(name: str, weights: str | Path | None) -> Path:
    if weights is None and name in SHIPPED:
        weights = name
    if weights in SHIPPED:
        with as_file(files("dataengine.tokenize") / "weights" / f"{weights}.safetensors") as path:
            return path  # the package is never imported from an archive: torch and bpy could not be either
    location = str(weights or PUBLISHED[name])
    if location.startswith("hf://"):
        return _download(location)
    path = Path(location)
    if not path.is_file():
        raise UsageError(f"{location} is not a file")
    return path


def _download(location: str) -> Path:
    """`hf://owner/repository[@revision]/file` → the local copy in the hub's own cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    owner, _, rest = location.removeprefix("hf://").partition("/")
    repository, _, file = rest.partition("/")
    repository, _, revision = repository.partition("@")
    if not owner or not repository or not file:
        raise UsageError(f"{location!r} is not of the form hf://owner/repository/file")
    try:
        return Path(hf_hub_download(f"{owner}/{repository}", file, revision=revision or None))
    except (HFValidationError, ValueError) as e:
        if not isinstance(e, LocalEntryNotFoundError):
            raise UsageError(f"{location}: {_first_line(e)}") from e
        raise DataengineError(f"{location} cannot be reached and is not in the cache; {_REMEDY}") from e
    except (HfHubHTTPError, OSError) as e:
        raise DataengineError(f"{location} cannot be fetched: {_first_line(e)}; {_REMEDY}") from e


_REMEDY = "fetch the file by other means and name it with --weights"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].split(". ")[0] if lines else type(error).__name__


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
