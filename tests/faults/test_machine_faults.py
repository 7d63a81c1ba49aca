"""The machine fails: each fault ends a command with one line or not at all, and afterwards nothing is lost or wrong."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.verify import verify
from tests import asset_files as files

SHIM = Path(__file__).parent / "shim.c"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("faults are injected by a preloaded library, which needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class Fault:
    """What is injected, and how the command ends.

    Attributes:
        call: open, read, write or sync; on files whose path holds `path`.
        code: of the command's end.
        words: in its last line, where it fails.
    """

    call: str
    path: str
    code: int
    words: str = ""
    number: int = 0
    milliseconds: int = 0
    skip: int = 0
    clock: int = 0


FAULTS = {
    "the corpus's disk fails while a tar is written": Fault("write", "/views/", 1, "Input/output error", errno.EIO),
    "the corpus's disk fails when it is synced": Fault("sync", "/views/", 1, "Input/output error", errno.EIO),
    "the corpus's disk is full": Fault("write", "/views/", 1, "disk is full", errno.ENOSPC),
    "the corpus's disk turns read-only": Fault("open", "/views/", 1, "read-only", errno.EROFS),
    "the spool's disk fails while it is written": Fault("write", "/spool/", 1, "Input/output error", errno.EIO),
    "the spool's disk fails when it is synced": Fault("sync", "/spool/", 1, "Input/output error", errno.EIO),
    "the spool's disk is full": Fault("write", "/spool/", 1, "disk is full", errno.ENOSPC),
    "the spool cannot be read back": Fault("read", "/spool/", 1, "Input/output error", errno.EIO),
    "a model cannot be read": Fault("read", "good1.glb", 1, "good1.glb", errno.EIO),
    "no descriptors for a model": Fault("open", "good1.glb", 1, "Too many open files", errno.EMFILE),
    "no memory to open a model": Fault("open", "good1.glb", 1, "Cannot allocate memory", errno.ENOMEM),
    "a model's disk stalls": Fault("read", "good1.glb", 0, milliseconds=1500),
    "the corpus's disk stalls": Fault("sync", "/views/", 0, milliseconds=1500),
    "the clock jumps back a day": Fault("none", "none", 0, clock=-86400),
    "the clock jumps on a year": Fault("none", "none", 0, clock=365 * 86400),
}


def run(*words: object, spool: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "dataengine", *map(str, words)],
        env={**os.environ, "DATAENGINE_SPOOL": str(spool), **env},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def plan(folder: Path, spool: Path) -> Path:
    models, corpus = folder / "models", folder / "corpus"
    models.mkdir()
    for n in range(3):
        (models / f"good{n}.glb").write_bytes(files.glb(n + 1))
    (models / "bad.glb").write_bytes(b"glTF")
    words = ["plan", corpus, "--source", f"local:{models}", "--rig", "hammersley-2", "--resolution", 16, "--samples", 1]
    assert run(*words, spool=spool).returncode == 0
    return corpus


def content(corpus: Path) -> dict[str, tuple[str, str]]:
    """uid → status and the hash of its members."""
    rows = [r for file in sorted((corpus / "views").rglob("*.parquet")) for r in pq.read_table(file).to_pylist()]
    return {
        r["uid"]: (r["status"], hashlib.sha256("".join(m["sha256"] for m in r["members"] or []).encode()).hexdigest())
        for r in rows
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    corpus = plan(folder, folder / "spool")
    assert run("render", corpus, "--shard", "all", spool=folder / "spool").returncode == 0
    return content(corpus)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_of_the_machine(
    tmp_path: Path, shim: Path, undisturbed: dict[str, tuple[str, str]], fault: Fault
) -> None:
    spool = tmp_path / "spool"
    corpus = plan(tmp_path, spool)
    settings = {
        "LD_PRELOAD": str(shim),
        "FAULT_CALL": fault.call,
        "FAULT_PATH": fault.path,
        "FAULT_ERRNO": str(fault.number),
        "FAULT_MILLISECONDS": str(fault.milliseconds),
        "FAULT_SKIP": str(fault.skip),
        **({"FAULT_CLOCK": str(fault.clock)} if fault.clock else {}),
    }
    done = run("render", corpus, "--shard", "all", "--workers", "1", spool=spool, **settings)
    assert done.returncode == fault.code, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    if fault.code:
        assert last.startswith("error: ") and fault.words in last and "itself failed" not in last
        assert content(corpus) == {}, "no rows are made of a machine's fault"
    assert not list(corpus.rglob("*.tmp"))
    assert run("render", corpus, "--shard", "all", spool=spool).returncode == 0
    assert content(corpus) == undisturbed, "no row is lost, and each is what it would have been"
    assert verify(Corpus.open(str(corpus))).differences == []
