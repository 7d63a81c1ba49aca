"""What decides a model's parameters, and the named sizes."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from dataengine.errors import UsageError

CameraInput = Literal["none", "azimuth", "matrix", "rays"]
CAMERA_INPUTS: tuple[CameraInput, ...] = get_args(CameraInput)

SIZES: dict[str, tuple[int, int]] = {  # width, layers; heads are 64 wide
    "nano": (128, 4),
    "slim": (192, 8),  # 4.6 M parameters at 2^18 codes: what ships weighs under 10 MB in bfloat16
    "micro": (256, 6),
    "small": (512, 8),
    "base": (768, 12),
    "large": (1024, 24),
    "1b": (2048, 20),
}


@dataclass(frozen=True)
class ModelConfig:
    """What decides the parameters' names and shapes.

    Attributes:
        width: of the residual stream, a multiple of 64.
        layers: transformer blocks.
        bits: of a code; the codebook has 2^bits.
        grid: rows and columns of a view.
        text_vocabulary, text_length: of the caption's tokenizer; tokens of a caption, padding included.
        camera: how the model is told where each view was taken from, see cameras.py.
    """

    width: int
    layers: int
    bits: int
    grid: tuple[int, int]
    text_vocabulary: int
    text_length: int
    camera: CameraInput = "rays"

    @property
    def mask(self) -> int:
        """The id that stands for a masked code."""
        return 1 << self.bits

    @property
    def view_tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ModelConfig":
        """The inverse of `as_dict`; checkpoints from before there was a choice of cameras say `azimuth`, yes or no."""
        data = {**data, "grid": tuple(data["grid"])}
        if "azimuth" in data:
            data["camera"] = "azimuth" if data.pop("azimuth") else "none"
        return cls(**data)


def preset(size: str, **rest: Any) -> ModelConfig:
    """The configuration of a named size. Raises UsageError for an unknown one."""
    if size not in SIZES:
        raise UsageError(f"no model size {size!r} (choose from {', '.join(SIZES)})")
    width, layers = SIZES[size]
    return ModelConfig(width=width, layers=layers, **rest)
