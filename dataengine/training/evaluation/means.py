"""What the rows of an evaluation come to: means over its objects, and how sure they are. Without torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

METHODS = ("mean", "reference", "model", "round_trip")
METRICS = ("psnr", "ssim", "psnr_object", "feature", "lpips", "reprojection", "chamfer", "volume_iou", "retrieval")


def means(table: pa.Table) -> list[dict[str, Any]]:
    """One row per method, the best possible last: the mean of each metric over the objects that have it.

    `half_widths` has, for each metric, half the width of the mean's 95 % interval over objects (normal approximation).
    """
    rows = table.to_pylist()
    out = []
    for method in METHODS:
        own = [r for r in rows if r["method"] == method]
        if own:
            values = {m: [r[m] for r in own if r[m] is not None and not np.isnan(r[m])] for m in METRICS}
            found = {m: float(np.mean(v)) if v else None for m, v in values.items()}
            half = {m: _half_width(v) for m, v in values.items()}
            out.append({"method": method, "objects": len(own), **found, "half_widths": half})
    return out


def _half_width(values: Sequence[float]) -> float | None:
    return 1.96 * float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else None
