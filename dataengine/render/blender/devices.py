"""Which device Cycles can render on."""

import ctypes
import sys

import bpy

from .failure import Unable

KINDS = ("OPTIX", "CUDA", "HIP", "METAL", "ONEAPI")  # in order of speed where a machine has several


def list_devices() -> list[dict[str, str]]:
    """Every render device but the CPU: kind and name, best kind first."""
    preferences = bpy.context.preferences.addons["cycles"].preferences
    found = []
    for kind in KINDS:
        try:
            devices = preferences.get_devices_for_type(kind)
        except (TypeError, ValueError):  # this build of Blender does not know the kind
            continue
        found += [{"kind": kind, "name": d.name} for d in devices if d.type == kind]
    return found


def use_device(device: str) -> None:
    """Sets Cycles to a device: CPU, or all devices of one of KINDS. Raises Unable when there is none."""
    scene = bpy.context.scene
    if device == "CPU":
        scene.cycles.device = "CPU"
        return
    preferences = bpy.context.preferences.addons["cycles"].preferences
    if not any(d["kind"] == device for d in list_devices()):
        raise Unable(f"no {device} device here; `dataengine doctor` lists what there is")
    preferences.compute_device_type = device
    for d in preferences.get_devices_for_type(device):
        d.use = d.type == device
    scene.cycles.device = "GPU"


def check_eevee() -> None:
    """Raises Unable where EEVEE would abort the process: without EGL it cannot even say so."""
    if sys.platform != "linux":
        return
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError as error:
        raise Unable("EEVEE needs libEGL.so.1: apt-get install -y --no-install-recommends libegl1") from error
