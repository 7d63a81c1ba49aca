"""Containers that lack what the sandbox is made of: rendering goes on, and the first line says what is open."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dataengine.manifests.catalog import Catalog
from tests.asset_files import glb

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")

# A seccomp filter as container runtimes install it: the three calls of Landlock, 444 to 446, fail with one error.
CONTAINER = """
import ctypes, os, struct, sys
LOAD, FROM, ABOVE, RETURN, ALLOW, ERRNO = 0x20, 0x35, 0x25, 0x06, 0x7FFF0000, 0x00050000
refuse = ERRNO | int(sys.argv[1])
steps = [(LOAD, 0, 0, 0), (FROM, 0, 2, 444), (ABOVE, 1, 0, 446), (RETURN, 0, 0, refuse), (RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)), 0, 0) == 0
os.execv(sys.executable, [sys.executable, "-m", "dataengine", *sys.argv[2:]])
"""


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM])
def test_a_container_without_landlock_renders_and_says_so(tmp_path: Path, error: int) -> None:
    models, corpus = tmp_path / "models", tmp_path / "corpus"
    models.mkdir()
    (models / "a.glb").write_bytes(glb())
    contained(error, "plan", str(corpus), "--source", f"local:{models}", "--resolution", "16", "--samples", "1")
    said = contained(error, "render", str(corpus))
    [line] = [line for line in said.splitlines() if "NOT in force" in line]
    closed, opened = line.split("; NOT in force: ")
    assert f"files: open (Landlock: {os.strerror(error)})" in opened
    assert "system calls" in closed and "network" in closed
    assert Catalog(corpus).sql("select status from assets").fetchall() == [("ok",)]


def contained(error: int, *words: str) -> str:
    command = [sys.executable, "-c", CONTAINER, str(error), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout + done.stderr
