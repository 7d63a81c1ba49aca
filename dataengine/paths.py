"""Folders of this machine that hold what can be made or fetched again: cache, spools, DuckDB's spill."""

import os
import tempfile
from pathlib import Path


def cache_root() -> Path:
    """The user's cache folder; `XDG_CACHE_HOME` moves it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dataengine"


def spool_root() -> Path:
    """The folder under which all spools of this user lie; `DATAENGINE_SPOOL` chooses another."""
    chosen = os.environ.get("DATAENGINE_SPOOL")
    return Path(chosen) if chosen else cache_root() / "spool"


def spill_folder() -> Path:
    """Where DuckDB puts what does not fit in memory: a folder per user, since another's may not be writable."""
    return Path(tempfile.gettempdir()) / f"dataengine-duckdb-{os.getuid()}"
