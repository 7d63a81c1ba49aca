"""Reading strangers' bytes in a process that can be killed: every end is typed, and the next call works."""

import errno
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from dataengine import isolated
from dataengine.errors import AssetFailure, DataengineError, ErrorCode

HERE = __name__


def call(function: str, *, cpu_seconds: float = 20.0, wall_seconds: float = 60.0, **arguments: Any) -> Any:
    return isolated.call(
        f"{HERE}:{function}",
        arguments,
        cpu_seconds=cpu_seconds,
        wall_seconds=wall_seconds,
        memory_bytes=512 << 20,
    )


def double(value: Any) -> Any:
    return value * 2


def own_pid() -> int:
    return os.getpid()


def forever() -> None:
    while True:
        pass


def sleep() -> None:
    time.sleep(600)


def allocate() -> int:
    return len(bytearray(4 << 30))


def end(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(10)


def refuse() -> None:
    raise AssetFailure(ErrorCode.UNSAFE_PATH, "no")


def trip() -> None:
    raise TypeError("unhashable type: 'list'\nsecond line")


def deep(level: int = 0) -> None:
    deep(level + 1)


def fail(number: int) -> None:
    raise OSError(number, os.strerror(number), "/the/file")


def test_values_go_there_and_back() -> None:
    assert call("double", value=[1, "a\udcff", None]) == [1, "a\udcff", None] * 2
    assert call("own_pid") == call("own_pid") != os.getpid(), "a process is used again"


def test_a_process_is_used_again_though_the_engine_itself_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    isolated.stop()
    monkeypatch.setattr(isolated, "KEPT_BYTES", 512 << 20)
    held = b"x" * (768 << 20)
    assert call("own_pid") == call("own_pid")
    assert held[-1:] == b"x"
    isolated.stop()


@pytest.mark.parametrize(
    ("function", "arguments", "code", "words"),
    [
        ("forever", {"cpu_seconds": 0.3}, ErrorCode.TIMEOUT, r"0\.3 CPU seconds"),
        ("sleep", {"wall_seconds": 1.0}, ErrorCode.TIMEOUT, "CPU seconds"),
        ("allocate", {}, ErrorCode.OUT_OF_MEMORY, "512 MiB"),
        ("end", {"number": int(signal.SIGSEGV)}, ErrorCode.MALFORMED, "SIGSEGV"),
        ("refuse", {}, ErrorCode.UNSAFE_PATH, "^no$"),
        ("trip", {}, ErrorCode.MALFORMED, "TypeError: unhashable type: 'list' second line"),
        ("deep", {}, ErrorCode.MALFORMED, "nested too deeply"),
        ("fail", {"number": errno.ENAMETOOLONG}, ErrorCode.MALFORMED, "too long"),
    ],
)
def test_what_bytes_can_do_is_typed(function: str, arguments: dict[str, Any], code: ErrorCode, words: str) -> None:
    with pytest.raises(AssetFailure, match=words) as failure:
        call(function, **arguments)
    assert failure.value.code == code
    assert call("double", value=2) == 4


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENOMEM, errno.ENOSPC])
def test_a_fault_of_the_machine_is_no_assets(number: int) -> None:
    with pytest.raises(DataengineError, match="^/the/file: ") as error:
        call("fail", number=number)
    assert not isinstance(error.value, AssetFailure)


def test_no_file_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pipe() -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    isolated.stop()
    monkeypatch.setattr(isolated.os, "pipe", no_pipe)
    with pytest.raises(DataengineError, match="Too many open files") as error:
        call("double", value=1)
    assert not isinstance(error.value, AssetFailure)


def test_a_process_that_somebody_kills_costs_nothing() -> None:
    psutil.Process(call("own_pid")).kill()
    assert call("double", value=4) == 8


def test_stopping_ends_a_call_in_progress() -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(call, "sleep")
        threading.Timer(1.0, isolated.stop).start()
        with pytest.raises(DataengineError, match="stopped"):
            waiting.result(timeout=30)
    assert call("double", value=1) == 2


def test_it_ends_with_its_parent() -> None:
    """The parent's end of the pipe closes when it is gone, however it went, and a thread waits for that."""
    call("own_pid")
    process = isolated._POOL._idle[-1]
    os.close(process._life)
    process._life = os.open(os.devnull, os.O_RDONLY)
    assert process._process.wait(10) == 4
    assert call("double", value=1) == 2
