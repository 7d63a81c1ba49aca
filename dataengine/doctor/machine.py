"""What works on this machine, and what to do about what does not."""

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import resource
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from dataengine.corpus.config import Limits
from dataengine.errors import DataengineError
from dataengine.extras import EXTRAS
from dataengine.machine import usable_cores, usable_memory
from dataengine.paths import spool_root
from dataengine.render.confinement import choose_sandbox, is_open, why_no_bubblewrap
from dataengine.render.devices import list_devices
from dataengine.render.launch import APT_PACKAGES
from dataengine.render.pool import BlenderPool
from dataengine.render.process import check_blender
from dataengine.render.scratch import ENOUGH, roomiest
from dataengine.report.checks import Check

GIB = 1 << 30
INSTALL = "apt-get install -y --no-install-recommends"


def doctor(corpus: Path) -> list[Check]:
    """Looks at everything that a render needs; takes a few seconds, because Blender is started for real.

    Args:
        corpus: the folder that a corpus is, or is to be, in: its disk is looked at.
    """
    looks: tuple[Callable[[], Iterator[Check]], ...] = (_python, _packages, _libraries, _blender, _machine, _limits)
    checks = [check for look in looks for check in look()]
    return [*checks, *_disks(corpus)]


def _python() -> Iterator[Check]:
    version = platform.python_version()
    right = sys.version_info[:2] == (3, 11)
    remedy = "" if right else "`make install` makes a .venv on Python 3.11, the version that this Blender is built for"
    yield Check("python", "ok" if right else "fail", f"{version} at {sys.executable}", remedy)


def _packages() -> Iterator[Check]:
    missing, wrong = [], []
    every = [Requirement(line) for line in _requirements()]
    extras = ("", *{extra for module, extra in EXTRAS.items() if importlib.util.find_spec(module)})  # what is used here
    requirements = [r for r in every if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in extras)]
    for requirement in requirements:
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(requirement.name)
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} (wants {requirement.specifier})")
    if missing or wrong:
        detail = "; ".join([f"{name} is missing" for name in missing] + wrong)
        yield Check("packages", "fail", detail, "run: make install")
    else:
        yield Check("packages", "ok", f"{len(requirements)} requirements met")


def _requirements() -> list[str]:
    try:
        return importlib.metadata.requires("dataengine") or []
    except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
        file = Path(__file__).parents[1] / "pyproject.toml"
        return list(tomllib.loads(file.read_text())["project"]["dependencies"]) if file.exists() else []


def _libraries() -> Iterator[Check]:
    if sys.platform != "linux":
        yield Check("system libraries", "ok", f"none needed on {sys.platform}")
        return
    missing = missing_packages()
    if missing:
        detail = f"{len(missing)} of {len(APT_PACKAGES)} missing: {', '.join(missing)}"
        yield Check("system libraries", "fail", detail, f"run as root: {INSTALL} {' '.join(missing)}")
    else:
        yield Check("system libraries", "ok", f"all {len(APT_PACKAGES)} that Blender needs")
    if _loads("libEGL.so.1"):
        yield Check("eevee", "ok", "libEGL.so.1 is there")
    else:
        yield Check("eevee", "warn", "libEGL.so.1 is missing", f"for --engine eevee, run as root: {INSTALL} libegl1")


def missing_packages() -> list[str]:
    """The Debian packages, of those that Blender needs, whose library cannot be loaded."""
    return [package for library, package in APT_PACKAGES.items() if not _loads(library)]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _blender() -> Iterator[Check]:
    limits = Limits()
    try:
        version = check_blender()
    except DataengineError as e:
        remedy = "see the line above" if missing_packages() else "run: make install"
        yield Check("blender", "fail", str(e), remedy)
        return
    yield Check("blender", "ok", f"{version} starts")
    try:
        devices = list_devices(limits)
        chosen = choose_sandbox("auto")
        with BlenderPool(limits, readable=[], sandbox=chosen) as pool, pool.worker() as worker:
            sandbox: dict[str, str] = worker.ask("sandbox")["sandbox"]
    except DataengineError as e:
        yield Check("blender", "fail", str(e), "Blender starts but does not answer; see the message")
        return
    found = ", ".join(f"{d['name']} ({d['kind']})" for d in devices)
    yield Check("devices", "ok", found or "no GPU that Cycles can use: it renders on the CPU")
    if missing := why_no_bubblewrap():
        yield Check("sandbox: bubblewrap", "ok", f"not in use: {missing}")
    for measure, state in sandbox.items():
        opened = is_open(state)
        remedy = "render strangers' files in a virtual machine, or on a newer kernel, see docs/guarantees.md"
        yield Check(
            f"sandbox: {measure.replace('_', ' ')}", "warn" if opened else "ok", state, remedy if opened else ""
        )


def _machine() -> Iterator[Check]:
    cores, total = usable_cores(), usable_memory()
    yield Check("cpu", "ok", f"{cores} cores, load {os.getloadavg()[0]:.1f}")
    detail = f"{total / GIB:.1f} GiB, {min(psutil.virtual_memory().available, total) / GIB:.1f} GiB free"
    if total < 2 * GIB * cores:
        remedy = "a Blender process takes 0.3 to 2 GiB: render with fewer --workers if the machine runs out"
        yield Check("memory", "warn", detail, remedy)
    else:
        yield Check("memory", "ok", detail)


def _limits() -> Iterator[Check]:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if files != resource.RLIM_INFINITY and files < 1024:
        yield Check("open files", "warn", f"at most {files}", "run: ulimit -n 4096")
    else:
        yield Check("open files", "ok", f"at most {files}")
    if space != resource.RLIM_INFINITY and space < 8 * GIB:
        detail = f"at most {space / GIB:.1f} GiB"
        yield Check("address space", "warn", detail, "Blender maps more than it uses; run: ulimit -v unlimited")


def _disks(corpus: Path) -> Iterator[Check]:
    for name, folder in (("disk: corpus", corpus), ("disk: spool", spool_root())):
        yield _disk(name, folder)
    scratch = roomiest()
    free = shutil.disk_usage(scratch).free
    shared = Path("/dev/shm")
    if sys.platform == "linux" and scratch != shared:
        size = shutil.disk_usage(shared).total if shared.is_dir() else 0
        detail = f"/dev/shm has {size >> 20} MiB: views pass through {scratch} ({free / GIB:.1f} GiB free)"
        remedy = f"give the container memory for it, e.g. docker run --shm-size=1g (wants {ENOUGH >> 20} MiB free)"
        yield Check("memory disk", "warn", detail, remedy)
    else:
        yield Check("memory disk", "ok", f"{scratch}: {free / GIB:.1f} GiB free")


def _disk(name: str, folder: Path) -> Check:
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    stat = os.statvfs(there)
    inodes = f", {stat.f_favail:,} files" if stat.f_files else ""
    detail = f"{folder.absolute()}: {free / GIB:.1f} GiB{inodes} free"
    if not os.access(there, os.W_OK):
        return Check(name, "fail", f"{there} cannot be written", "choose another folder, or change its permissions")
    if free < GIB // 4 or (stat.f_files and stat.f_favail < 1000):
        return Check(name, "fail", detail, "free some space")
    if free < 5 * GIB:
        return Check(name, "warn", detail, "1000 assets of 8 views at 256² take about 0.5 GB")
    return Check(name, "ok", detail)
