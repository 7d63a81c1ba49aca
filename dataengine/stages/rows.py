"""The row that a stage leaves of an asset."""

import socket
import time
from datetime import UTC, datetime
from typing import Any

from dataengine.corpus.result import Result
from dataengine.errors import AssetFailure
from dataengine.stages.stage import Row, Stage


def ok_result(row: Row, made: Result, started: float) -> Result:
    """What a stage made of a row of its input, with the columns that every stage's rows have."""
    columns, members = made
    return Result({**_head(row), "status": "ok", **columns, **_tail(started)}, members)


def failed_result(stage: Stage, row: Row, failure: AssetFailure, started: float) -> Result:
    """An asset of which a stage could make nothing: a row that says why, and no members."""
    columns = {
        **_head(row),
        "status": "failed",
        "error": failure.code.value,
        "message": " ".join(failure.message.split()),
        "log": failure.log,
        "failed_in": stage.name,
        **_tail(started),
    }
    return Result(columns, {})


def failed_before(stage: Stage, row: Row) -> dict[str, Any]:
    """The row of an asset that an earlier stage could make nothing of."""
    failed_in = row.get("failed_in") or stage.made_from
    before = f"has no {str(failed_in).partition('/')[0]}: "
    message = str(row["message"])
    return {
        **_head(row),
        "status": "failed",
        "error": row["error"],
        "message": message if message.startswith(before) else before + message,
        "failed_in": failed_in,
        **_tail(time.monotonic()),
    }


def _head(row: Row) -> dict[str, Any]:
    return {"uid": row["uid"], "row": row["row"]}


def _tail(started: float) -> dict[str, Any]:
    return {
        "wall_seconds": time.monotonic() - started,
        "finished_at": datetime.now(UTC),
        "host": socket.gethostname(),
    }
