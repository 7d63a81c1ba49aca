"""What one request to a Blender process may use: the corpus's limits, which grow with a view set's samples."""

from dataclasses import dataclass

from dataengine.corpus.config import Limits
from dataengine.render.blender.protocol import RenderRequest

SAMPLES_OF_LIMITS = 1 << 25  # of a view set: 8 views of 512² with 16 samples. A busy core traces 300,000 a second


@dataclass(frozen=True)
class Allowance:
    """What one request may use: CPU seconds, wall seconds as a backstop, bytes resident. `spent` are CPU seconds that
    count as used when it begins."""

    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int
    spent: float = 0.0


def allowance(limits: Limits, spent: float = 0.0, times: float = 1.0) -> Allowance:
    """What one request may use; the CPU seconds of the import count for every set. `times`: see `share_of_limits`."""
    return Allowance(limits.cpu_seconds * times, limits.wall_seconds * times, limits.memory_bytes, spent)


def share_of_limits(request: RenderRequest) -> float:
    """How many times the limits of time a view set may use: once, or in proportion to its samples where there are more
    than the limits are meant for. TRELLIS renders 150 views of 512² with 128 samples: no asset is that in 120 s."""
    samples: int = request.samples + sum(look["samples"] for look in request.more_looks)
    return max(1.0, len(request.cameras) * request.width * request.height * samples / SAMPLES_OF_LIMITS)
