"""How a Blender process is started: its command, its environment, and what to say when it does not start."""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from dataengine.render.confinement import kept, wrap

PROGRAM = Path(__file__).parent / "blender" / "start.py"
# What Blender and the GPU drivers may want to know; credentials and the like stay with the parent.
ENVIRONMENT = re.compile(
    r"^(PATH|LANG|LC_\w+|TZ|LD_LIBRARY_PATH|VIRTUAL_ENV|PYTHON(HOME|PATH|UNBUFFERED)|XDG_RUNTIME_DIR|DISPLAY"
    r"|(CUDA|NVIDIA|OPTIX|HIP|ROCR?|HSA|AMD|ONEAPI|SYCL|ZE|UR|EGL|LIBGL|MESA|GALLIUM|LP|VK|__EGL|__GLX|CYCLES)_\w+)$"
)
SECRET = re.compile(r"SECRET|TOKEN|PASS|CREDENTIAL|AUTH|API_?KEY|ACCESS_?KEY|PRIVATE", re.IGNORECASE)
APT_PACKAGES = {
    "libX11.so.6": "libx11-6",
    "libXrender.so.1": "libxrender1",
    "libXfixes.so.3": "libxfixes3",
    "libXi.so.6": "libxi6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libGL.so.1": "libgl1",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libXext.so.6": "libxext6",
}


def command(
    python: str, fds: tuple[int, int, int, int], out: Path, readable: Sequence[Path], drivers: bool, wrapped: bool
) -> list[str]:
    """What starts Blender: on Linux behind a keeper, which ends with it whatever it has started.

    Args:
        fds: of the child: requests, replies, life, channel.
        wrapped: inside bubblewrap.
    """
    blender = [python, str(PROGRAM), *map(str, fds)]
    if wrapped:
        blender = wrap(blender, out, readable, drivers)
    if sys.platform != "linux":
        return blender
    return kept(fds[2], blender)


def blender_python() -> str:
    """The interpreter that has bpy: DATAENGINE_BLENDER_PYTHON, else our own."""
    return os.environ.get("DATAENGINE_BLENDER_PYTHON") or sys.executable


def child_environment(out: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if ENVIRONMENT.match(k) and not SECRET.search(k)}
    home = str(out)
    return kept | {
        "HOME": home,
        "TMPDIR": home,
        "BLENDER_USER_RESOURCES": home,  # nobody's preferences or start-up file
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONIOENCODING": "utf-8:backslashreplace",
    }


def cannot_start(python: str, said: str) -> str:
    """One line: which library or module is missing and what to install."""
    if library := re.search(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file", said):
        package = APT_PACKAGES.get(library[1], "unknown")
        everything = " ".join(APT_PACKAGES.values())
        return (
            f"Blender cannot start: {library[1]} is missing (package {package}); "
            f"run: apt-get install -y --no-install-recommends {everything}"
        )
    if "No module named 'bpy'" in said:
        return (
            f"{python} has no Blender: pip install 'dataengine[render]' there (bpy 4.5 needs Python 3.11), "
            "or name another interpreter in DATAENGINE_BLENDER_PYTHON"
        )
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "it printed nothing")
    return f"Blender cannot start under {python}: {last[:300]}"
