"""A published corpus, read by those who would read it: datasets, DuckDB, mlcroissant, the Hub's client."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from dataengine.corpus.corpus import Corpus
from dataengine.errors import UsageError
from dataengine.publish.licences import check_licences, harmless
from dataengine.publish.publish import publish_corpus, publish_folder
from tests.publish.hub import Hub, running
from tests.report.conftest import ball_views, make

HOSTILE = '=cmd|"/c calc"!A1 <script>alert(1)</script> \x1b[31m \u202e[x](javascript:1) | a'


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def folder(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("published") / "balls"
    publish_folder(corpus, target, name="me/balls", unknown_licences=True)
    return target


def test_datasets_reads_it_streaming(folder: Path) -> None:
    """In a process of its own: the library keeps caches and threads."""
    program = """
import sys, json, numpy as np
from datasets import load_dataset
d = load_dataset(sys.argv[1], "orbit8", split="validation", streaming=True)
s = next(iter(d))
print(json.dumps({"modes": [s["views"][0].mode, s["depth"][0].mode], "uid": s["uid"], "K": s["K"][0],
    "rgba": np.asarray(s["views"][3]).sum().item(), "depth": np.asarray(s["depth"][3]).astype(int).sum().item()}))
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder.parent / "cache")}
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    views = ball_views("orbit8")
    assert seen["modes"] == ["RGBA", "I;16"]
    assert seen["rgba"] == int(views.rgba[3].sum())
    camera = views.cameras[3]
    z = views.depth[3][views.depth[3] > 0].astype(np.float64)
    stored = np.floor((z - camera.near) * 65534 / (camera.far - camera.near) + 1.5)
    assert abs(seen["depth"] - int(stored.sum())) <= len(z)  # float32 against float64, a step at most per pixel
    assert seen["K"] == views.cameras[0].K


def test_duckdb_and_the_viewer_read_it(folder: Path, corpus: Corpus) -> None:
    uid = corpus.plan(0).to_pylist()[0]["uid"]
    found = duckdb.sql(f"select uid, len(views), c2w[1][3] from '{folder}/data/orbit8/validation-*.parquet'").fetchall()
    assert [(row[0], row[1]) for row in found] == [(uid, 8)]
    file = pq.ParquetFile(next(folder.glob("data/orbit8/*.parquet")))
    assert file.metadata.row_group(0).column(0).has_offset_index  # the page index that the viewer asks for


def test_nothing_private_is_published(folder: Path, corpus: Corpus) -> None:
    words = [str(corpus.url), "last words", '"host"', '"log"', '"uri"']
    for path in folder.rglob("*"):
        if path.suffix == ".parquet":
            table = pq.read_table(path).drop_columns(["views", "depth"])
            content = json.dumps(table.to_pylist(), default=str)
        else:
            content = path.read_bytes().decode("latin-1") if path.is_file() else ""
        assert not [word for word in words if word in content], path


def test_the_card(folder: Path) -> None:
    _, head, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["configs"][0]["config_name"] == "orbit8"
    assert metadata["configs"][0]["data_files"] == [{"split": "validation", "path": "data/orbit8/validation-*.parquet"}]
    assert metadata["license"] == "cc0-1.0"  # the only one: of the one model that has views
    assert "| cc0-1.0 | 1 |" in body and "| EMPTY\\_SCENE | 1 |" in body and "2 more models are planned" in body
    for name in ("contact_sheet.png", "rig.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a library of its own
def test_mlcroissant_validates_it(folder: Path) -> None:
    croissant = pytest.importorskip("mlcroissant")
    dataset = croissant.Dataset(jsonld=folder / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    assert {f.id for f in dataset.metadata.record_sets[0].fields} >= {"orbit8/views", "orbit8/depth", "orbit8/licence"}


def test_published_twice_is_the_same_and_other_folders_are_left_alone(
    corpus: Corpus, folder: Path, tmp_path: Path
) -> None:
    again = tmp_path / "balls"
    publish_folder(corpus, again, name="me/balls", unknown_licences=True)
    publish_folder(corpus, again, name="me/balls", unknown_licences=True)  # replaces what it published
    files = {p.relative_to(again): p.read_bytes() for p in again.rglob("*") if p.is_file()}
    assert files == {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="not empty"):
        publish_folder(corpus, tmp_path / "mine", name="x", unknown_licences=True)
    assert (tmp_path / "mine" / "thesis.tex").exists() and len(list(tmp_path.iterdir())) == 2


def test_strangers_words_do_nothing(tmp_path: Path) -> None:
    corpus = make(tmp_path / "corpus", title=HOSTILE)
    target = tmp_path / "out"
    publish_folder(corpus, target, name="me/x", unknown_licences=True, contact=HOSTILE)
    for name in ("README.md", "CREDITS.md"):
        text = (target / name).read_text(encoding="utf-8")
        assert "<script>" not in text and "\x1b" not in text and "\u202e" not in text and "[x](javascript" not in text
    with (target / "LICENSES.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["title"] == f"'{HOSTILE}"


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_cells_are_text_to_a_spreadsheet(cell: str) -> None:
    assert harmless(cell) == f"'{cell}"


@pytest.mark.parametrize(
    ("counts", "options", "words"),
    [
        ({None: 3, "mit": 1}, {}, "3 assets have no known licence"),
        ({"cc-by-nc-4.0": 2}, {}, "2 assets may not be used commercially"),
        ({"cc-by-nc-4.0": 2, None: 1}, {"unknown": True}, "--include-non-commercial"),
    ],
)
def test_licences_that_nobody_asked_for(counts: Any, options: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_licences(Counter(counts), **{"unknown": False, "non_commercial": False, **options})
    check_licences(Counter(counts), unknown=True, non_commercial=True)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running() as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.hf_api.ENDPOINT", server.url, raising=False)
        monkeypatch.setenv("HF_TOKEN", "secret")
        yield server


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # between two libraries
def test_the_hub_gets_what_changed(corpus: Corpus, hub: Hub) -> None:
    target = "hf://datasets/me/balls"
    options: dict[str, Any] = {"unknown_licences": True}
    assert "would upload 8 files" in publish_corpus(corpus, target, dry_run=True, **options)[0]
    assert not hub.files
    assert "uploaded 8 files of 1 asset to" in publish_corpus(corpus, target, **options)[0]
    assert {"README.md", "croissant.json", "data/orbit8/validation-00000.parquet"} <= hub.files["me/balls"].keys()
    assert "nothing to upload" in publish_corpus(corpus, target, **options)[0]
    hub.files["me/balls"]["data/old/train-00000.parquet"] = b"of an earlier version"
    hub.files["me/balls"]["notes.txt"] = b"somebody's own"
    assert "removed 1 files" in publish_corpus(corpus, target, **options)[1]
    assert len(hub.uploaded) == 2 and "notes.txt" in hub.files["me/balls"]


@pytest.mark.usefixtures("hub")
def test_no_right_to_publish(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no right to write to you/balls"):
        publish_corpus(corpus, "hf://datasets/you/balls", unknown_licences=True)
    monkeypatch.setenv("HF_TOKEN", "expired")
    with pytest.raises(UsageError, match="HF_TOKEN"):
        publish_corpus(corpus, "hf://datasets/me/balls", unknown_licences=True)
    with pytest.raises(UsageError, match="OWNER/NAME"):
        publish_corpus(corpus, "hf://me", unknown_licences=True)
