"""A hub on loopback, and a cache for this test alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dataengine.assets.download import downloads_in
from tests.assets.hub_server import Hub, running


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running(Hub()) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", "secret")
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "user-cache"
    yield folder
    downloads_in(folder).close()
