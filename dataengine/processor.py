"""What the processor can do. On its own, for machines that have torch and little else."""

from pathlib import Path

INFO = Path("/proc/cpuinfo")


def multiplies_bfloat16() -> bool:
    """Whether it multiplies matrices of bfloat16 (Intel's AMX), which is several times as fast as float32.

    Other processors compute bfloat16 too, but gain little or lose by it.
    """
    try:
        return "amx_bf16" in INFO.read_text().split()
    except OSError:  # not Linux
        return False
