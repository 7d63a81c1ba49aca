"""What a shard of tokens says of the tokenizer that made it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from dataengine.tokenize.lfq import BitOrder

Weights = Literal["raw", "ema"]
Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class TokenizerSpec:
    """Everything that decides which codes an image gets, but for the machine.

    Attributes:
        name: see `build`.
        factor: pixels per token, per side.
        bits: a code.
        bit_order: `lsb_first`: channel 0 of the quantizer is bit 0; `msb_first`: it is the highest; `none`: codes are
            numbers of a learned table, and codes that share bits are not alike.
        weights: `raw` or `ema`: Open-MAGVIT2's files hold both, and they give different tokens.
        weights_sha256: of the parameters' names, shapes and values; None for an untrained module.
        dtype: of the encoder's arithmetic; TF32 is off.
        background: sRGB colour that views were composited over, 0 to 255; None until that is decided.
        resolution: side in pixels that views were scaled down to; None: as rendered.
        channel: of the views, that is encoded: `rgba`, or another that holds colours.
    """

    name: str
    factor: int
    bits: int
    bit_order: BitOrder
    weights: Weights = "raw"
    weights_sha256: str | None = None
    dtype: Dtype = "float32"
    background: tuple[int, int, int] | None = None
    resolution: int | None = None
    channel: str = "rgba"

    @property
    def codebook_size(self) -> int:
        return 1 << self.bits

    @property
    def token_dtype(self) -> np.dtype[Any]:
        """The smallest unsigned dtype that holds the codebook."""
        return np.min_scalar_type(self.codebook_size - 1)

    def as_dict(self) -> dict[str, Any]:
        """For the fragment's settings, JSON types only; the channel only where it is another than `rgba`."""
        own = asdict(self)
        if self.channel == "rgba":
            del own["channel"]
        background = None if self.background is None else list(self.background)
        return {**own, "background": background, "codebook_size": self.codebook_size}
