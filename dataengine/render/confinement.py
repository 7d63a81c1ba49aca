"""How a Blender process is confined from outside: bubblewrap around it where that works, and the words for it.

Landlock, seccomp and the limits, which it applies to itself, come in any case (blender/sandbox.py).
"""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from dataengine.errors import DataengineError, UsageError
from dataengine.render.blender import sandbox

Sandbox = Literal["auto", "bwrap", "kernel", "landlock"]
SANDBOXES: tuple[str, ...] = get_args(Sandbox)
INSTALL = "run as root: apt-get install -y --no-install-recommends bubblewrap"
NAMES = {
    "landlock": "Landlock alone",
    "kernel": "the kernel's own means",
    "bwrap": "bubblewrap and the kernel's own means",
}
NAMESPACES = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
MEASURES = ("files", "signals", "privileges", "system_calls", "network", "processes")
TRIAL_SECONDS = 20.0
KEEPER = Path(sandbox.__file__).parent / "keeper.py"


def choose_sandbox(wanted: str) -> Sandbox:
    """`auto` becomes the strongest that works here: `bwrap` (namespaces, and all that `kernel` is) or `kernel`.

    `landlock` leaves out the filter of system calls, for GPU drivers that it stops.

    Raises:
        UsageError: for an unknown word.
        DataengineError: if `bwrap` is wanted and does not work; the line says what to install or to allow.
    """
    if wanted not in SANDBOXES:
        raise UsageError(f"unknown sandbox {wanted!r} (known: {', '.join(SANDBOXES)})")
    if wanted in ("kernel", "landlock"):
        return "landlock" if wanted == "landlock" else "kernel"
    missing = why_no_bubblewrap()
    if missing and wanted == "bwrap":
        raise DataengineError(f"--sandbox bwrap does not work here: {missing}")
    return "kernel" if missing else "bwrap"


@functools.cache
def why_no_bubblewrap() -> str:
    """What keeps bubblewrap from working here, and the remedy; empty if it works. Tried once, for real."""
    if sys.platform != "linux":
        return "bubblewrap is for Linux only"
    if not (program := shutil.which("bwrap")):
        return f"bubblewrap is not installed; {INSTALL}"
    life, held = os.pipe()
    trial = kept(life, [*bubblewrap(program, Path("/tmp"), [], drivers=False), "/bin/true"])
    try:
        done = subprocess.run(trial, capture_output=True, timeout=TRIAL_SECONDS, check=False, pass_fds=[life])
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} does not run: {error}"
    finally:
        os.close(life)
        os.close(held)
    if done.returncode == 0:
        return ""
    said = " ".join(done.stderr.decode("utf-8", "replace").split())[:200] or f"exit code {done.returncode}"
    return (
        f"{said}; allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)"
    )


def in_force(state: Mapping[str, str], sandbox: Sandbox) -> str:
    """What a Blender process said of its sandbox, for a run's log: one line, with the reason for what is open."""
    told = {measure.replace("_", " "): state[measure] for measure in MEASURES if measure in state}
    closed = [measure for measure, word in told.items() if not is_open(word)]
    opened = [f"{measure}: {word}" for measure, word in told.items() if is_open(word)]
    line = f"sandbox ({NAMES[sandbox]}) confines {', '.join(closed) or 'nothing'}"
    if opened:
        line += f"; NOT in force: {'; '.join(opened)}"
    if sandbox == "kernel" and (missing := why_no_bubblewrap()):
        line += f"; without bubblewrap ({missing})"
    return line


def is_open(state: str) -> bool:
    return state.startswith("open")


def wrap(command: Sequence[str], out: Path, readable: Sequence[Path], drivers: bool) -> list[str]:
    """The command inside bubblewrap. Its file descriptors pass through."""
    program = shutil.which("bwrap")
    if program is None:
        raise DataengineError(f"bubblewrap has gone; {INSTALL}")
    return [*bubblewrap(program, out, readable, drivers=drivers), *command]


def kept(life: int, command: Sequence[str]) -> list[str]:
    """The command behind a keeper, which ends with it whatever it has started, and when the pipe `life` closes.

    Bubblewrap too needs one: its inner process waits for the outer one before it asks to die with it
    (`--die-with-parent`), and waits for ever if that one is killed at that moment.
    """
    return [sys.executable, "-I", "-S", str(KEEPER), str(life), *command]


def bubblewrap(program: str, out: Path, readable: Sequence[Path], *, drivers: bool) -> list[str]:
    """Namespaces of its own; of the file system what Landlock's rules name, all read-only but `out`."""
    seen = [*sandbox.SYSTEM, *sandbox.SYSTEM_FILES, "/proc/driver"]
    arguments = [program, *NAMESPACES, "--die-with-parent", "--cap-drop", "ALL"]
    # Root needs no user namespace, and in one it could not read files of other users.
    arguments += ["--cap-add", "CAP_DAC_READ_SEARCH"] if os.geteuid() == 0 else ["--unshare-user"]
    arguments += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    for path in [*seen, *(str(p) for p in [*interpreter_paths(), *readable])]:
        arguments += ["--ro-bind-try", path, path]
    for path in sandbox.gpu_devices() if drivers else ():
        arguments += ["--dev-bind-try", path, path]
    return [*arguments, "--bind", str(out), str(out), "--chdir", str(out), "--"]


def interpreter_paths() -> list[Path]:
    """Trees that Python and Blender are imported from, also those of an interpreter that is not our own."""
    named = os.environ.get("DATAENGINE_BLENDER_PYTHON")
    trees = [Path(sys.prefix), Path(sys.base_prefix), *(Path(p) for p in sys.path if p)]
    trees += [Path(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    if named and (found := shutil.which(named)):
        # A virtual environment's interpreter is a link, to one that lies elsewhere.
        trees += [Path(found).absolute().parents[1], Path(found).resolve().parents[1]]
    return [*dict.fromkeys(trees), Path(sandbox.__file__).resolve().parent]
