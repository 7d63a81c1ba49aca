"""Errors of the operating system: which of them another try may mend, whose fault they are, what to tell a person."""

import errno

FINAL = {
    errno.ENOSPC,
    errno.EROFS,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.EISDIR,
    errno.ENOTDIR,
}
MACHINE_FAULTS = {
    errno.EIO,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENODEV,
    errno.ENXIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
}


def is_final(error: OSError) -> bool:
    """Whether the same call would fail so again, however often it is tried."""
    return error.errno in FINAL or isinstance(error, PermissionError)


def is_machine_fault(error: OSError) -> bool:
    """Whether this machine is to blame (a disk that fails or is full, no descriptors), not the file asked for."""
    return error.errno in MACHINE_FAULTS


def explain(error: OSError, where: str) -> str:
    """One line that says what an operating system error means for the person who sees it."""
    hints: dict[int | None, str] = {
        errno.ENOSPC: "the disk is full; free some space and run the same command again, what is done is kept",
        errno.EDQUOT: "the disk quota is used up; free some space and run the same command again, what is done is kept",
        errno.EROFS: "the file system is read-only; choose a folder that can be written",
        errno.EACCES: "permission denied; choose another folder or change its permissions",
        errno.EPERM: "the operation is not permitted there; choose another folder or change its permissions",
        errno.ENOTDIR: "a part of the path is a file, not a folder",
    }
    words = error.strerror if isinstance(error.strerror, str) else None
    return f"{where}: {hints.get(error.errno, words or ' '.join(str(error).split()))}"
