"""A Blender process that has been taken over and is not confined at all: what its parent believes and what it does."""

import os
import random
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dataengine.corpus.config import Limits
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.render import exr, launch, scratch
from dataengine.render.blender.protocol import RenderRequest
from dataengine.render.handover import Refused, clear, take
from dataengine.render.pool import BlenderPool, discard
from dataengine.render.scratch import ScratchFull
from dataengine.render.views import read_exr
from tests.render.models import request
from tests.render.test_views import passes, write_exr

CHILD = """
import json, os, shutil, struct, sys, time
requests, replies = int(sys.argv[1]), int(sys.argv[2])

def send(message):
    raw(json.dumps(message).encode())

def raw(body, length=None):
    data = struct.pack("<I", len(body) if length is None else length) + body
    while data:
        data = data[os.write(replies, data):]

def receive():
    size = os.read(requests, 4)
    if not size:
        os._exit(0)
    body = b""
    while len(body) < struct.unpack("<I", size)[0]:
        body += os.read(requests, struct.unpack("<I", size)[0] - len(body))
    return json.loads(body)

os.close(int(sys.argv[4]))
send({"pid": os.getpid()})
receive()
send({"ready": True, "blender": "4.5.0 (hostile)", "sandbox": {"processes": "refused"}})
while True:
    message = receive()
    if message["op"] == "load":
        send({})
        continue
    if message["op"] != "render":
        send({"sandbox": {}})
        continue
    request = message["request"]
    out = request["out"]
    answer = {"exr": ["a.exr"], "radius": 0.5}
    script = open(request["path"]).read()
    if script.startswith("v "):
        script = "answer = {'error': 'EMPTY_SCENE'}" if not os.environ.get("LC_BROKEN") else "answer = {'fatal': 'no'}"
    else:
        shutil.copy(os.path.join(os.path.dirname(request["path"]), "good.exr"), os.path.join(out, "a.exr"))
    scope = dict(globals())
    exec(script, scope)
    if scope["answer"] is not None:
        send(scope["answer"])
"""
CAMERAS = 1


@contextmanager
def hostile(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> Iterator[BlenderPool]:
    program = folder / "child.py"
    program.write_text(CHILD)
    write_exr(folder / "good.exr", passes("v0", np.ones((16, 16, 4)), np.full((16, 16), 1.5)))
    (folder / "script.glb").write_text(code)
    monkeypatch.setattr(launch, "PROGRAM", program)
    with BlenderPool(Limits(wall_seconds=20), readable=[folder]) as pool:
        yield pool


def wanted(folder: Path) -> RenderRequest:
    return request(folder / "script.glb", views=CAMERAS, size=16)


def test_an_honest_answer_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hostile(tmp_path, monkeypatch, "") as pool:
        reply = pool.render(wanted(tmp_path))
        assert read_exr(reply.exr, wanted(tmp_path).cameras).rgba.shape == (1, 16, 16, 4)
        discard(reply)
        assert not Path(reply.exr[0]).exists()


NONSENSE = {
    "no JSON": "raw(b'{'); answer = None",
    "a list": "raw(b'[]'); answer = None",
    "a number that JSON does not have": 'raw(b\'{"scale": NaN, "exr": ["a.exr"]}\'); answer = None',
    "not UTF-8": "raw(b'\\xff\\xfe'); answer = None",
    "deep JSON": "raw(b'{\"exr\":' + b'[' * 200000 + b'}'); answer = None",
    "more than a length": "raw(b'{}', (1 << 32) - 1); answer = None",
    "two answers": "raw(b'{}', 1); answer = None",
    "an unknown key": "answer['command'] = 'rm'",
    "an unknown code": "answer = {'error': 'NOPE'}",
    "a code of the parent's": "answer = {'error': 'FETCH_404'}",
    "wrong types": "answer = {'exr': 'a.exr'}",
    "a file list of numbers": "answer = {'exr': [1]}",
    "negative": "answer['face_count'] = -1",
    "too large a number": "answer['face_count'] = 1 << 70",
    "no scale": "answer['scale'] = 0.0",
    "a long offset": "answer['offset'] = [0.0] * 9",
    "an axis of its own": "answer['up'] = 'W'",
    "no files": "answer['exr'] = []",
    "many files": "answer['exr'] = [str(n) for n in range(9)]",
    "the same file twice": "answer['exr'] = ['a.exr', 'a.exr']",
    "a file that is not there": "answer['exr'] = ['b.exr']",
    "an absolute path": "answer['exr'] = [VICTIM]",
    "a path upwards": "answer['exr'] = ['../' * 20 + VICTIM]",
    "dots": "answer['exr'] = ['..']",
    "a NUL": "answer['exr'] = ['a\\0b']",
    "half a surrogate pair as a name": "answer['exr'] = ['\\ud800']",
    "a link": "os.unlink(out + '/a.exr'); os.symlink(VICTIM, out + '/a.exr')",
    "a hard link": "os.unlink(out + '/a.exr'); os.link(VICTIM, out + '/a.exr')",
    "a FIFO": "os.unlink(out + '/a.exr'); os.mkfifo(out + '/a.exr')",
    "a folder": "os.unlink(out + '/a.exr'); os.makedirs(out + '/a.exr/b')",
    "a link for its folder": "shutil.rmtree(out); os.symlink(os.path.dirname(VICTIM), out); answer['exr'] = ['victim']",
    "no folder": "shutil.rmtree(out)",
    "too large a file": "os.truncate(out + '/a.exr', 1 << 32)",
    "fatal and more": "answer['fatal'] = 'pwned'",
    "fatal that is no text": "answer = {'fatal': ['x']}",
}


@pytest.mark.parametrize("code", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_one_row_and_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    victim = outside / "victim"
    victim.write_text("mine")
    with hostile(tmp_path, monkeypatch, f"VICTIM = {str(victim)!r}\n{code}") as pool:
        with pytest.raises(AssetFailure) as failure:
            pool.render(wanted(tmp_path))
        assert failure.value.code == ErrorCode.CRASH
        failure.value.message.encode()
        with pool.worker() as worker:
            root = worker.scratch.parent
            assert not [p for p in root.rglob("*") if p.name != "cube.obj" and not p.is_dir()]
    assert victim.read_text() == "mine"
    assert [p.name for p in outside.iterdir()] == ["victim"]


def test_a_request_that_nobody_reads_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into the pipe must not keep the parent waiting; a fresh process then reads it."""
    once = tmp_path / "once"
    with hostile(tmp_path, monkeypatch, f"send(answer); os.path.exists({str(once)!r}) or time.sleep(600)") as pool:
        discard(pool.render(wanted(tmp_path)))
        once.write_text("")
        (tmp_path / "script.glb").write_text("")
        limits = Limits(wall_seconds=2)
        with pool.worker() as worker:
            worker._limits = limits
        discard(pool.render(replace(wanted(tmp_path), textures=["x" * 100] * 5000)))


def test_a_lie_about_the_machine_costs_its_asset_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hostile(tmp_path, monkeypatch, "answer = {'fatal': 'no CUDA device here'}") as pool:
        with pytest.raises(AssetFailure, match="which is not so") as failure:
            pool.render(wanted(tmp_path))
        assert failure.value.code == ErrorCode.CRASH
        monkeypatch.setenv("LC_BROKEN", "1")
        with pool.worker() as worker:
            worker.close()
        with pytest.raises(DataengineError, match="^no$") as truth:
            pool.render(wanted(tmp_path))
        assert not isinstance(truth.value, AssetFailure)


def test_texts_are_made_fit_to_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "answer = {'error': 'MALFORMED', 'message': 'a\\ud800\\0\\nb' + 'x' * 5000}"
    with hostile(tmp_path, monkeypatch, code) as pool, pytest.raises(AssetFailure) as failure:
        pool.render(wanted(tmp_path))
    assert failure.value.message.startswith("a? bx")
    assert len(failure.value.message) == 1000


def test_a_folder_of_any_depth_is_emptied(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    kept = tmp_path / "kept"
    kept.write_text("mine")
    here = os.open(own, os.O_RDONLY)
    for n in range(3000):
        os.mkdir("d", dir_fd=here)
        os.symlink(kept, f"link{n}", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    (own / "closed").mkdir()
    (own / "closed" / "x").write_text("")
    (own / "closed").chmod(0)
    clear(own)
    assert list(own.iterdir()) == []
    assert kept.read_text() == "mine"


def test_a_socket_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "own" / "out").mkdir(parents=True)
    (tmp_path / "taken").mkdir()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "own" / "out" / "a.exr"))
    with pytest.raises(Refused, match="no plain file"):
        take(tmp_path / "own", "out", ["a.exr"], tmp_path / "taken", 1 << 20)
    assert list((tmp_path / "taken").iterdir()) == []


def test_any_bytes_as_a_picture_are_refused_or_read(tmp_path: Path) -> None:
    """Against OpenEXR's own writer: every mutation ends in values or in NotOurs."""
    path = write_exr(tmp_path / "a.exr", passes("v0", np.random.default_rng(0).random((4, 4, 4)), np.ones((4, 4))))
    good = path.read_bytes()
    planes = exr.read(path)
    assert planes["ViewLayer.Combined.v0.R"].shape == (4, 4)
    dice = random.Random(0)
    refused = 0
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(dice.choice((1, 1, 2, 8))):
            data[dice.randrange(len(data))] = dice.randrange(256)
        if dice.random() < 0.2:
            del data[dice.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            exr.read(path)
        except exr.NotOurs:
            refused += 1
    assert 500 < refused < 3000


@pytest.mark.parametrize("written", [0, 80 << 20])
def test_scratch_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    """It stops the run, unless the asset itself has filled it."""
    monkeypatch.setattr(scratch, "WAIT_SECONDS", 0.1)
    code = f"open(out + '/x', 'wb').write(bytes({written}))\nanswer = {{'error': 'CRASH', 'message': 'cannot write'}}"
    with hostile(tmp_path, monkeypatch, code) as pool:
        monkeypatch.setattr(scratch.shutil, "disk_usage", lambda path: SimpleNamespace(free=4096))
        with pytest.raises(AssetFailure if written else ScratchFull, match="cannot write" if written else "--workers"):
            pool.render(wanted(tmp_path))


def test_modes_of_what_is_taken(tmp_path: Path) -> None:
    (tmp_path / "own" / "out").mkdir(parents=True)
    (tmp_path / "taken").mkdir()
    (tmp_path / "own" / "out" / "a").write_text("x")
    (path,) = take(tmp_path / "own", "out", ["a"], tmp_path / "taken", 1)
    assert stat.S_ISREG(path.lstat().st_mode) and path.read_text() == "x"
