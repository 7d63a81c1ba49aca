"""Which device to render on."""

import sys
from collections.abc import Callable
from pathlib import Path

from dataengine.corpus.config import Limits
from dataengine.errors import DataengineError, UsageError
from dataengine.render.confinement import Sandbox
from dataengine.render.pool import BlenderPool

DEVICES = ("auto", "cpu", "optix", "cuda", "hip", "metal", "oneapi")


def choose_device(
    wanted: str, limits: Limits, sandbox: Sandbox = "kernel", say: Callable[[str], None] = lambda line: None
) -> str:
    """The Cycles device for `--device`: CPU, OPTIX, CUDA, HIP, METAL or ONEAPI.

    `auto` is the fastest that Blender finds, else the CPU. Asking costs a Blender start, and is left out on
    machines without a GPU driver.

    Args:
        sandbox: as for rendering: a driver that it stops finds no device.
        say: told where there is a driver, and `auto` is the CPU all the same.

    Raises:
        UsageError: for an unknown device.
        DataengineError: if the device named is not on this machine.
    """
    if wanted.lower() not in DEVICES:
        raise UsageError(f"unknown device {wanted!r} (known: {', '.join(DEVICES)})")
    if wanted.lower() == "cpu" or (wanted.lower() == "auto" and not _maybe_gpu()):
        return "CPU"
    found = list_devices(limits, sandbox)
    if wanted.lower() == "auto":
        if not found:
            say("there is a GPU driver, but Blender finds no GPU: rendering on the CPU (try --sandbox landlock)")
        return found[0]["kind"] if found else "CPU"
    if wanted.upper() not in {d["kind"] for d in found}:
        there = ", ".join(sorted({d["kind"].lower() for d in found}))
        raise DataengineError(f"there is no {wanted} device here (Blender finds: {there or 'none but the CPU'})")
    return wanted.upper()


def list_devices(limits: Limits, sandbox: Sandbox = "kernel") -> list[dict[str, str]]:
    """Kind and name of every GPU that Cycles can use here, best kind first."""
    with BlenderPool(limits, drivers=True, sandbox=sandbox) as pool, pool.worker() as worker:
        return list(worker.ask("devices")["devices"])


def _maybe_gpu() -> bool:
    drivers = ("nvidiactl", "kfd", "dri/renderD128", "dxg")
    return sys.platform == "darwin" or any((Path("/dev") / name).exists() for name in drivers)
