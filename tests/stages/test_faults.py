"""Two thousand assets from a hub where everything goes wrong that does: each ends fetched or typed, none twice."""

import gzip
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataengine.corpus.corpus import Corpus
from dataengine.errors import ErrorCode
from dataengine.sources.objaverse import REPO
from dataengine.stages.fetch import prefetch
from tests import asset_files as files
from tests.hub_server import COMMIT, Hub, running
from tests.sources.test_objaverse import annotation

AT = f"/datasets/{REPO}/resolve/{COMMIT}"
COUNT, FOLDERS = 2000, 20
SHARES = {"404": 0.05, "429": 0.03, "short": 0.02, "garbage": 0.01, "cut": 0.01, "500": 0.01, "slow": 0.02}
STAYS = {"404": ErrorCode.FETCH_404, "garbage": ErrorCode.SHA_MISMATCH}
GATED = 7  # the folder that the token does not open


@pytest.fixture
def bad_hub() -> Iterator[Hub]:
    hub = Hub()
    hub.retry_after = "1"
    uids = [hashlib.md5(str(n).encode()).hexdigest() for n in range(COUNT)]
    paths = {uid: f"glbs/000-{n % FOLDERS:03d}/{uid}.glb" for n, uid in enumerate(uids)}
    hub.files[f"{AT}/object-paths.json.gz"] = gzip.compress(json.dumps(paths).encode())
    hub.files[f"{AT}/lvis-annotations.json.gz"] = gzip.compress(b"{}")
    for folder in range(FOLDERS):
        notes = {u: annotation(u, n) for n, u in enumerate(uids) if n % FOLDERS == folder}
        hub.files[f"{AT}/metadata/000-{folder:03d}.json.gz"] = gzip.compress(json.dumps(notes).encode())
        hub.faults[f"{AT}/metadata/000-{folder:03d}.json.gz"] = ["slow"] * 3 + ["429"] * (folder % 2)
    for n, uid in enumerate(uids):
        hub.files[f"{AT}/{paths[uid]}"] = files.glb(n + 1)
    draw = random.Random(0)
    left = [f"{AT}/{p}" for n, p in enumerate(paths.values()) if n % FOLDERS != GATED]
    draw.shuffle(left)
    for fault, share in SHARES.items():
        for _ in range(int(share * COUNT)):
            name = left.pop()
            if fault in STAYS:
                hub.always[name] = fault
            else:
                hub.faults[name] = [fault]
    hub.gated[f"{AT}/glbs/000-{GATED:03d}/"] = "a token that has not expired"
    with running(hub):
        yield hub


def start(environment: dict[str, str], *words: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "dataengine", *words],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def kill_when(process: "subprocess.Popen[bytes]", reached: Any) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_every_asset_ends_fetched_or_typed_and_none_is_fetched_twice(
    bad_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = bad_hub
    environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "expired", "XDG_CACHE_HOME": str(tmp_path / "user")}
    cache, corpus = tmp_path / "user/dataengine", str(tmp_path / "corpus")
    plan = ["plan", corpus, "--source", "objaverse", "--where", "face_count >= 0", "--shard-size", "500"]

    kill_when(start(environment, *plan), lambda: len([n for n in hub.whole if "/metadata/" in n]) >= 8)
    assert not (tmp_path / "corpus/corpus.yaml").exists()
    process = start(environment, *plan)
    assert process.wait(120) == 0, process.communicate()
    process.communicate()
    lists = {n: hub.whole[n] for n in hub.files if not n.endswith(".glb")}
    assert sum(count - 1 for count in lists.values()) <= 16  # what was under way when it was killed

    def here() -> set[str]:
        known = {p.stem for p in (cache / "downloads/blobs").rglob("*.glb")}
        return {n for n, content in hub.files.items() if hashlib.sha256(content).hexdigest() in known}

    def fetched() -> int:
        return sum(n.endswith(".glb") for n in hub.whole)

    for moment in (400, 900):
        kill_when(start(environment, "fetch", corpus, "--shard", "all"), lambda moment=moment: fetched() >= moment)
        kept = {n: hub.requests[n] for n in here() if n.endswith(".glb")}
        assert len(kept) >= moment - 64
    process = start(environment, "fetch", corpus, "--shard", "all")
    while fetched() < 1300:
        time.sleep(0.02)
        assert process.poll() is None, process.communicate()
    hub.down = True
    threading.Timer(4.0, lambda: setattr(hub, "down", False)).start()
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert {n: hub.requests[n] for n in kept} == kept, "what was there was asked for again"

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    before, went = hub.whole.copy(), hub.requests.total()
    result = prefetch(Corpus.open(corpus), range(4), cache=cache)
    assert result.fetched + len(result.failures) == COUNT
    expected = Counter({ErrorCode.FETCH_DENIED: COUNT // FOLDERS})
    for fault, code in STAYS.items():
        expected[code] += int(SHARES[fault] * COUNT)
    assert Counter(f.code for f in result.failures.values()) == expected
    assert hub.whole == before  # nothing that was fetched is fetched again; what failed is asked for, and fails
    assert hub.requests.total() - went <= 4 * len(result.failures)
    assert max(hub.whole.values()) <= 3 and sum(c - 1 for n, c in hub.whole.items() if n.endswith(".glb")) <= 2 * 64
    for code, count in expected.items():
        assert f"{code}: {count}, such as " in output.decode()
