"""What a Blender process leaves in its folder, taken by the parent: the folder may hold anything that code can make.

Names only, never paths; nothing is followed and nothing is removed outside of the folder, whatever the links in it say.
"""

import contextlib
import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

NAME_BYTES = 255
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO must not keep us waiting


class Refused(Exception):
    """A file that was handed over is none: the message says what it is."""


def take(scratch: Path, folder: str, names: Sequence[str], to: Path, most_bytes: int) -> list[Path]:
    """Moves plain files out of `scratch/folder` to `to`, where the child cannot reach them.

    Args:
        scratch: made by the parent; the child may write in it, and may have replaced `folder`.
        most_bytes: of all files together.

    Raises:
        Refused: for a name that is a path, anything but a plain file of one name, or too much.
    """
    with opened(scratch) as base, opened(folder, base) as source:
        taken: list[Path] = []
        size = 0
        for name in names:
            if not is_name(name):
                raise Refused("Blender named a file outside its folder")
            target = to / f"{folder}.{len(taken)}"
            try:
                os.rename(name, target, src_dir_fd=source)
                info = plain_file(target)
            except OSError as error:
                raise Refused(f"Blender named a file that is not there: {error.strerror}") from error
            size += info.st_size
            taken.append(target)
            if size > most_bytes:
                for path in taken:
                    path.unlink()
                raise Refused(f"Blender left more than the {most_bytes} bytes that the views can take")
        return taken


def is_name(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name and len(os.fsencode(name)) <= NAME_BYTES


def plain_file(path: Path) -> os.stat_result:
    """What `path` is; removes it and raises Refused if it is no plain file that has this name only."""
    info = path.lstat()
    if stat.S_ISREG(info.st_mode) and info.st_nlink == 1:
        return info
    if stat.S_ISDIR(info.st_mode):
        clear(path)
        path.rmdir()
    else:
        path.unlink()
    raise Refused("Blender named something that is no plain file of its own")


@contextlib.contextmanager
def opened(folder: Path | str, base: int | None = None) -> Iterator[int]:
    """A descriptor of a folder, not of what a link names. Raises Refused."""
    try:
        fd = os.open(folder, DIRECTORY, dir_fd=base)
    except OSError as error:
        raise Refused(f"Blender replaced its folder: {error.strerror}") from error
    try:
        yield fd
    finally:
        os.close(fd)


def remove(scratch: Path, folder: str) -> bool:
    """Removes `scratch/folder`, which an honest child leaves with plain files only; False if there is more to it."""
    with contextlib.suppress(OSError, Refused), opened(scratch) as base:
        with opened(folder, base) as fd:
            for name in os.listdir(fd):  # noqa: PTH208
                os.unlink(name, dir_fd=fd)
        os.rmdir(folder, dir_fd=base)
        return True
    return False


def clear(scratch: Path) -> None:
    """Empties a folder whose child is dead: of links, of folders without rights, however deep they lie.

    A folder in it hands its entries up to `scratch`, so that no depth needs recursion or a long path.
    """
    with contextlib.suppress(Refused), opened(scratch) as base:
        waiting = os.listdir(base)  # noqa: PTH208
        numbers = itertools.count()
        while waiting:
            name = waiting.pop()
            with contextlib.suppress(OSError, Refused):
                waiting += _remove_or_lift(name, base, numbers)


def _remove_or_lift(name: str, base: int, numbers: Iterator[int]) -> list[str]:
    """Removes an entry of `base`; returns the names that the entries of a folder got there."""
    if not stat.S_ISDIR(os.lstat(name, dir_fd=base).st_mode):
        os.unlink(name, dir_fd=base)
        return []
    os.chmod(name, 0o700, dir_fd=base)
    lifted = []
    with opened(name, base) as fd:
        for inner in os.listdir(fd):  # noqa: PTH208
            if stat.S_ISDIR(os.lstat(inner, dir_fd=fd).st_mode):
                os.chmod(inner, 0o700, dir_fd=fd)
                lifted.append(f".lifted.{next(numbers)}")
                os.rename(inner, lifted[-1], src_dir_fd=fd, dst_dir_fd=base)
            else:
                os.unlink(inner, dir_fd=fd)
    os.rmdir(name, dir_fd=base)
    return lifted
