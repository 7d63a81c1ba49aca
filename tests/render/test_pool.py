"""The pool: crashes, hangs, memory, recycling, the sandbox, and what outlives the parent."""

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from dataengine.corpus.config import Limits, RenderConfig
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.render import allowance
from dataengine.render import worker as worker_module
from dataengine.render.blender.protocol import RenderRequest
from dataengine.render.launch import cannot_start
from dataengine.render.pool import BlenderPool, discard
from dataengine.render.process import check_blender
from dataengine.render.scratch import PREFIX, Scratch, remove_stale
from dataengine.render.settings import resolve
from tests.render.models import CUBE, coloured, request, write_glb

CRASHING_USD = """#usda 1.0
def Mesh "m"
{
    int[] faceVertexCounts = [3, 1000000]
    int[] faceVertexIndices = [0, 1, 2]
    point3f[] points = [(0, 0, 0), (1, 0, 0), (0, 1, 0)]
}
"""
FOREVER = 60_000  # samples: far more than any test waits for


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_glb(tmp_path_factory.mktemp("models") / "cube.glb", coloured(CUBE, (180, 90, 60)))


@pytest.fixture
def pool(cube: Path) -> Iterator[BlenderPool]:
    with BlenderPool(Limits(cpu_seconds=60), readable=[cube.parent]) as pool:
        yield pool


def digest(pool: BlenderPool, wanted: RenderRequest) -> str:
    """Hash of the pixels, colour and depth, of all views."""
    import OpenEXR

    reply = pool.render(wanted)
    hashed = hashlib.sha256()
    for name in reply.exr:
        with OpenEXR.File(name, separate_channels=True) as file:
            for channel, values in sorted(file.channels().items()):
                hashed.update(channel.encode() + values.pixels.tobytes())
    discard(reply)
    return hashed.hexdigest()


def test_bytes_depend_on_nothing_but_the_request(cube: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = tmp_path / "hostile.usda"
    hostile.write_text(CRASHING_USD)
    other = write_glb(tmp_path / "other.glb", coloured(CUBE.copy().apply_scale((1, 2, 3)), (20, 90, 200)))
    wanted = request(cube, samples=4)
    with BlenderPool(Limits(), readable=[cube.parent, tmp_path]) as pool:
        first = digest(pool, wanted)
        assert digest(pool, replace(wanted, threads=1)) == first, "one thread"
        digest(pool, request(other, samples=2))
        assert digest(pool, wanted) == first, "after another asset"
        with pytest.raises(AssetFailure):
            pool.render(request(hostile, format="usd"))
        assert digest(pool, wanted) == first, "after a hostile file"
        monkeypatch.setattr(worker_module, "RECYCLE_ASSETS", 1)
        digest(pool, wanted)
        assert digest(pool, wanted) == first, "in a recycled process"
        assert digest(pool, replace(wanted, seed=8)) != first


def test_a_killed_process_is_replaced_and_the_asset_rendered(pool: BlenderPool, cube: Path) -> None:
    with pool.worker() as worker:
        worker.ask("sandbox")
        assert worker.pid
        thread = threading.Timer(0.3, os.kill, (worker.pid, signal.SIGKILL))
    thread.start()
    reply = pool.render(request(cube, views=4, size=128, samples=16))
    thread.join()
    assert reply.face_count == 12
    assert not [p for p in psutil.Process().children() if p.status() == psutil.STATUS_ZOMBIE]


def test_two_crashes_are_a_failure(pool: BlenderPool, cube: Path, tmp_path: Path) -> None:
    path = tmp_path / "counts.usda"
    path.write_text(CRASHING_USD)
    started = time.monotonic()
    with pytest.raises(AssetFailure, match="Blender died: signal SIG") as failure:
        pool.render(request(path, format="usd"))
    assert failure.value.code == ErrorCode.CRASH
    assert time.monotonic() - started < Limits().wall_seconds
    assert pool.render(request(cube, views=1)).face_count == 12


def test_cpu_deadline(cube: Path) -> None:
    with BlenderPool(Limits(cpu_seconds=1.5), readable=[cube.parent]) as pool:
        with pytest.raises(AssetFailure, match=r"1\.5 CPU seconds") as failure:
            pool.render(request(cube, size=16, samples=FOREVER))
        assert failure.value.code == ErrorCode.TIMEOUT
        assert pool.render(request(cube, views=1)).face_count == 12


def test_a_larger_view_set_may_take_longer(cube: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of time are meant for 2^25 samples of all views together; of fewer they hold as they are."""
    trellis = resolve(RenderConfig(recipe="trellis"))
    wanted = replace(request(cube), width=512, height=512, samples=128, cameras=trellis.rig.cameras(512))
    assert len(wanted.cameras) == 150
    assert allowance.share_of_limits(wanted) == 150 * 512 * 512 * 128 / 2**25 == 150
    more = replace(wanted, more_looks=[wanted.look | {"samples": 64}])
    assert allowance.share_of_limits(more) == 150 * 1.5
    assert allowance.share_of_limits(request(cube)) == 1

    slow = request(cube, size=16, samples=8000)
    with BlenderPool(Limits(cpu_seconds=1), readable=[cube.parent]) as pool:
        with pytest.raises(AssetFailure, match="1 CPU seconds"):
            pool.render(slow)
        monkeypatch.setattr(allowance, "SAMPLES_OF_LIMITS", 1000)
        discard(pool.render(slow))


def test_wall_clock_backstop_for_a_process_that_sleeps(cube: Path) -> None:
    with BlenderPool(Limits(wall_seconds=8), readable=[cube.parent]) as pool:
        with pool.worker() as worker:
            worker.ask("sandbox")
            assert worker.pid
            stopped = worker.pid
            os.kill(stopped, signal.SIGSTOP)
        assert pool.render(request(cube, views=1)).face_count == 12, "by the second attempt"
        assert not psutil.pid_exists(stopped)


def test_memory_limit(tmp_path: Path) -> None:
    mesh = CUBE.copy()
    for _ in range(8):
        mesh = mesh.subdivide()
    path = write_glb(tmp_path / "large.glb", mesh)
    with BlenderPool(Limits(memory_bytes=400 << 20)) as pool:
        with pytest.raises(AssetFailure) as failure:
            pool.render(request(path))
        assert failure.value.code == ErrorCode.OUT_OF_MEMORY


def test_threads_share_a_pool(cube: Path) -> None:
    with BlenderPool(Limits(), workers=2, readable=[cube.parent]) as pool, ThreadPoolExecutor(3) as threads:
        wanted = [request(cube, views=1, seed=i) for i in range(5)]
        replies = list(threads.map(pool.render, wanted))
        assert len({name for reply in replies for name in reply.exr}) == 5, "nobody's files are overwritten"


def test_close_ends_a_render_in_progress(cube: Path) -> None:
    pool = BlenderPool(Limits(), readable=[cube.parent])
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(pool.render, request(cube, size=256, samples=FOREVER))
        while not psutil.Process().children():
            time.sleep(0.05)
        time.sleep(1.0)
        pool.close()
        with pytest.raises(DataengineError, match="stopped"):
            running.result(timeout=30)
    with pytest.raises(DataengineError, match="stopped"):
        pool.render(request(cube))


def test_failures_leave_no_files(pool: BlenderPool, tmp_path: Path) -> None:
    (tmp_path / "x.glb").write_bytes(b"")
    with pytest.raises(AssetFailure):
        pool.render(request(tmp_path / "x.glb"))
    with pool.worker() as worker:
        assert not list(worker.scratch.rglob("*.exr"))


def test_the_sandbox_hides_other_files(pool: BlenderPool, cube: Path, tmp_path: Path) -> None:
    with pool.worker() as worker:
        state = worker.ask("sandbox")["sandbox"]
    if not state["files"].startswith("confined"):
        pytest.skip(state["files"])
    secret = tmp_path / "secret.bin"
    secret.write_bytes(cube.read_bytes())
    inside = cube.parent / "outward.obj"
    inside.write_text(f"mtllib {secret}\nv 0 0 0\nv 1 0 0\nv 0 0 1\nf 1 2 3\n")
    reply = pool.render(request(inside, views=1))
    assert "cannot read from MTL" in reply.log
    assert state["network"].startswith("refused")


def test_an_asset_from_elsewhere_is_rendered_all_the_same(pool: BlenderPool, tmp_path: Path) -> None:
    target = write_glb(tmp_path / "blob", CUBE)
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "cube.glb"
    link.symlink_to(target)
    assert pool.render(request(link, views=1)).face_count == 12


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part is Linux's")
def test_nothing_outlives_a_killed_parent(cube: Path) -> None:
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from dataengine.corpus.config import Limits
        from dataengine.render.pool import BlenderPool
        from tests.render.models import request
        pool = BlenderPool(Limits())
        with pool.worker() as worker:
            worker.ask("sandbox")
            print(worker.pid, worker.scratch.parent, flush=True)
        pool.render(request(Path(sys.argv[1]), size=256, samples=60000))
        """
    )
    root = Path(__file__).parents[2]
    parent = subprocess.Popen([sys.executable, "-c", program, str(cube)], cwd=root, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pid, scratch = parent.stdout.readline().split()
    time.sleep(1.0)  # into native code
    parent.kill()
    parent.wait()
    parent.stdout.close()
    child = int(pid)
    for _ in range(100):
        if not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.05)
    else:
        pytest.fail("Blender outlived its parent")
    assert Path(scratch).exists()
    Scratch().close()
    assert not Path(scratch).exists(), "the next owner removes what the dead one left"


def test_scratch_of_the_living_is_left_alone() -> None:
    scratch = Scratch()
    assert remove_stale(scratch.path.parent) == 0
    assert scratch.path.name.startswith(PREFIX) and scratch.path.exists()
    scratch.close()
    assert not scratch.path.exists()


def test_blender_works_here() -> None:
    assert check_blender().startswith("4.5")


def test_an_interpreter_without_blender(monkeypatch: pytest.MonkeyPatch, cube: Path) -> None:
    monkeypatch.setenv("DATAENGINE_BLENDER_PYTHON", "/nowhere/python")
    with pytest.raises(DataengineError, match="DATAENGINE_BLENDER_PYTHON"), BlenderPool(Limits()) as pool:
        pool.render(request(cube))
    fake = cube.parent / "python"
    fake.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'bpy'\" >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("DATAENGINE_BLENDER_PYTHON", str(fake))
    with pytest.raises(DataengineError, match="has no Blender"):
        check_blender()


def test_a_missing_library_is_named_with_its_package() -> None:
    said = "ImportError: libXfixes.so.3: cannot open shared object file: No such file or directory"
    line = cannot_start("python", said)
    assert "libXfixes.so.3 is missing (package libxfixes3)" in line
    assert "libx11-6 libxrender1 libxfixes3 libxi6 libxkbcommon0 libgl1 libsm6 libice6 libxext6" in line
