"""What a Blender process answers, checked: a stranger's code may have written it."""

import json
import math
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from dataengine.errors import ErrorCode
from dataengine.render.blender.protocol import LoadReply, RenderReply

R = TypeVar("R", bound=LoadReply | RenderReply)

LINE = 1000  # characters of a message
NAMES = 1000  # of textures and complaints
MOST = 2**63 - 1
MAY_SAY = {
    ErrorCode.UNSUPPORTED,
    ErrorCode.MALFORMED,
    ErrorCode.UNSAFE_PATH,
    ErrorCode.TOO_LARGE,
    ErrorCode.IMPORT_ERROR,
    ErrorCode.EMPTY_SCENE,
    ErrorCode.BAD_GEOMETRY,
    ErrorCode.OUT_OF_MEMORY,
    ErrorCode.CRASH,
}


@dataclass(frozen=True)
class _Strict(RenderReply):
    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class _StrictLoad(LoadReply):
    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


_REPLY = TypeAdapter(_Strict)
_LOAD_REPLY = TypeAdapter(_StrictLoad)


class Nonsense(Exception):
    """The answer is none that an honest Blender gives; the message says why, in our own words."""


def checked(answer: dict[str, Any], log: str, files: int) -> RenderReply:
    """The reply in an answer, its texts fit to be kept. `exr` are names, at most `files` of them, not yet looked at.

    Raises:
        Nonsense: if keys, types or values are not those of a RenderReply.
    """
    reply = _agreed(_REPLY, {**answer, "log": ""})
    if reply.up not in ("Y", "Z") or len(reply.offset) != 3 or not reply.scale > 0 or reply.radius < 0:
        raise Nonsense("Blender gave a placement that is none")
    if len(reply.exr) > files or len(set(reply.exr)) != len(reply.exr) or (not reply.error and not reply.exr):
        raise Nonsense("Blender named no files, or more than there are views")
    for value in (getattr(reply, f.name) for f in fields(reply)):
        if isinstance(value, int) and not 0 <= value <= MOST:
            raise Nonsense("Blender gave a number out of range")
    if len(reply.seconds) > 2 * files + 20 or any(not 0 <= s < math.inf for s in reply.seconds.values()):
        raise Nonsense("Blender gave times that are none")
    return RenderReply(
        **{
            **reply.to_json(),
            "message": line(reply.message),
            "missing_textures": [line(name) for name in reply.missing_textures[:NAMES]],
            "complaints": [line(text) for text in reply.complaints[:NAMES]],
            "log": log,
        }
    )


def checked_load(answer: dict[str, Any]) -> LoadReply:
    """The reply in an answer to a load. Raises Nonsense as `checked`."""
    reply = _agreed(_LOAD_REPLY, answer)
    if not (0 <= reply.cpu_seconds < math.inf and 0 <= reply.peak_memory <= MOST):
        raise Nonsense("Blender gave a number out of range")
    return LoadReply(reply.error, line(reply.message), reply.cpu_seconds, reply.peak_memory)


def _agreed(kind: TypeAdapter[R], answer: dict[str, Any]) -> R:
    try:
        # Half of a surrogate pair, as in a file name that is not UTF-8, becomes a question mark.
        reply = kind.validate_json(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValidationError, ValueError, RecursionError) as error:
        raise Nonsense("Blender gave an answer that is not of the agreed form") from error
    if reply.error and reply.error not in MAY_SAY:
        raise Nonsense("Blender gave an error code that it has no right to")
    return reply


def fatal(answer: dict[str, Any]) -> str | None:
    """What the child says of the machine, if that is all that it says."""
    said = answer.get("fatal")
    return line(said) if isinstance(said, str) and len(answer) == 1 else None


def line(text: str) -> str:
    """One line of text that any encoder takes: half of a surrogate pair cannot be written."""
    return " ".join(text.encode("utf-8", "replace").decode().replace("\0", "").split())[:LINE]
