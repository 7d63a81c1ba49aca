"""Every error that dataengine raises on purpose.

DataengineError            one clear line for a person; the command exits with 1
├── UsageError             the request itself was wrong; the command exits with 2
└── AssetFailure           one asset cannot be used: becomes a typed row, never ends a run
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """Why an asset failed: the closed set of values in the manifest's `error` column."""

    FETCH_404 = "FETCH_404"
    """The source does not have the file (any more)."""
    FETCH_TIMEOUT = "FETCH_TIMEOUT"
    """The source did not deliver within the deadline, after retries."""
    FETCH_DENIED = "FETCH_DENIED"
    """The source wants a token, or terms accepted, that this machine does not show."""
    SHA_MISMATCH = "SHA_MISMATCH"
    """The bytes are not those the source (or the plan) named."""
    UNSUPPORTED = "UNSUPPORTED"
    """A format, version or required extension that Blender cannot read."""
    MALFORMED = "MALFORMED"
    """The file breaks its own format's rules."""
    UNSAFE_PATH = "UNSAFE_PATH"
    """The file refers to something outside its own folder, or is no regular file."""
    TOO_LARGE = "TOO_LARGE"
    """Over a limit of the corpus: bytes, declared elements, pixels of a texture."""
    IMPORT_ERROR = "IMPORT_ERROR"
    """Blender's importer refused the file or raised."""
    EMPTY_SCENE = "EMPTY_SCENE"
    """The import ended well but left no visible geometry."""
    BAD_GEOMETRY = "BAD_GEOMETRY"
    """Geometry without extent, or with coordinates that are not finite."""
    TIMEOUT = "TIMEOUT"
    """The asset used up its CPU or wall-clock deadline: twice in Blender, or while its file was read."""
    CRASH = "CRASH"
    """Blender died on this asset, twice."""
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    """Blender, or reading the file, went over the memory limit on this asset."""
    BLANK = "BLANK"
    """The asset rendered to nothing: no view covers more than a few pixels by half, or none has any depth."""
    BAD_DEPTH = "BAD_DEPTH"
    """The depth of a view is salt and pepper: surfaces that are partly transparent in a way that is not understood."""


class DataengineError(Exception):
    """Something failed; the message says what, where and what to do. Exit code 1."""

    exit_code = 1


class UsageError(DataengineError):
    """The request was wrong (unknown rig, bad SQL, missing folder). Exit code 2."""

    exit_code = 2


class AssetFailure(DataengineError):
    """One asset cannot be used.

    Attributes:
        code: the reason, one of `ErrorCode`.
        log: the last lines that Blender printed, if it had begun.
    """

    def __init__(self, code: ErrorCode, message: str, log: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.log = log
