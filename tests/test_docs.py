"""What the pages say is what the code does."""

import json
import re
import threading
import tomllib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trimesh

import dataengine
from dataengine.corpus import schema
from dataengine.corpus.config import Limits, RenderConfig
from dataengine.errors import ErrorCode
from dataengine.render.looks import LOOKS
from dataengine.render.rigs import Rig
from dataengine.sources import registry
from dataengine.sources.locate import locate
from dataengine.stages.plan import plan_corpus
from dataengine.training.data.view_fields import FIELDS, TEXT
from tests.token_corpus import make_corpus
from tests.view_corpus import make_view_corpus

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)")


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def tables(text: str) -> Iterator[list[str]]:
    """The cells of each row of each table, without the heads."""
    for match in re.finditer(r"^\|[-:| ]+\|\n((?:\|.*\n)+)", text, re.MULTILINE):
        for line in match[1].splitlines():
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]


def test_the_architecture_page_has_the_layers_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (checked,) = (c for c in contracts if c["type"] == "layers")
    written = [re.findall(r"`(\w+)`", cells[0]) for cells in tables(page("architecture.md"))]
    assert written == [layer.strip("()").split(" : ") for layer in checked["layers"]]


def test_every_module_that_a_page_names_is_there() -> None:
    for file in (*DOCS.rglob("*.md"), *DOCS.rglob("*.svg")):
        for name in re.findall(r"(?<![\w/.])((?:[a-z_]+/)+[a-z_]+\.py)\b", file.read_text(encoding="utf-8")):
            assert any((root / name).exists() for root in (ROOT, ROOT / "dataengine")), f"{file.name}: {name}"


def test_every_page_that_the_code_names_is_there() -> None:
    for file in (ROOT / "dataengine").rglob("*.py"):
        for name in re.findall(r"docs/[\w/]+\.md", file.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{file.name}: {name}"


def test_every_link_of_a_page_leads_somewhere() -> None:
    for file in (*DOCS.rglob("*.md"), ROOT / "README.md"):
        for target, heading in LINK.findall(file.read_text(encoding="utf-8")):
            other = file.parent / target if target else file
            assert other.exists(), f"{file.name}: {target}"
            heads = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE) if heading else []
            names = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
            assert not heading or heading in names, f"{file.name}: {target}#{heading}"


def test_every_error_has_a_meaning_and_a_remedy() -> None:
    rows = list(tables(page("errors.md")))
    assert [row[0].strip("`") for row in rows] == [code.value for code in ErrorCode]
    assert all(len(row) == 3 and len(row[1]) > 20 and len(row[2]) > 20 for row in rows)


def test_the_limits_are_written_as_they_are() -> None:
    text = page("formats.md").partition("## Limits\n")[2].partition("\n## ")[0]
    written = {cells[0].strip("`"): float(cells[1].replace(",", "")) for cells in tables(text)}
    assert written == {name: float(value) for name, value in Limits().model_dump().items()}


@pytest.mark.parametrize(
    ("heading", "columns"),
    [
        ("Of the plan", schema.PLAN.names),
        ("Of every stage", schema.result_schema(pa.schema([])).names),
        ("Of views", schema.VIEW_COLUMNS.names),
        ("Of tokens", schema.TOKEN_COLUMNS.names),
    ],
)
def test_every_column_is_explained(heading: str, columns: list[str]) -> None:
    section = page("columns.md").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    written = [name for cells in tables(section) for name in re.findall(r"`(\w+)`", cells[0])]
    assert sorted(written) == sorted(columns)


def test_the_glossary_is_in_order() -> None:
    words = [cells[0] for cells in tables(page("glossary.md"))]
    assert words == sorted(words) and len(words) == len(set(words)) > 20


def block(heading: str) -> dict[str, Any]:
    """The names that a section's code on the page about extending leaves behind."""
    section = page("extend.md").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, f"docs/extend.md, {heading}", "exec"), names)
    return names


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dataengine.Corpus:
    """With views, in ./corpus."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    make_corpus(tmp_path / "corpus", assets=5, shard_size=5, views=3, side=32)
    return dataengine.open(tmp_path / "corpus")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


def test_a_source_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    museum = tmp_path / "museum"
    museum.mkdir()
    entries = []
    for name, licence in (("vase", "CC0"), ("jar", "CC BY 4.0")):
        trimesh.creation.box((1, 1, len(name))).export(museum / f"{name}.glb")
        entries.append({"file": f"{name}.glb", "name": name.title(), "licence": licence})
    (museum / "index.json").write_text(json.dumps(entries))
    source = block("A source")["SOURCE"]
    monkeypatch.setitem(registry._BY_NAME, source.name, source)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(museum)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        spec = f"museum:http://127.0.0.1:{server.server_port}/index.json"
        plan_corpus(tmp_path / "corpus", sources=[spec], render=RenderConfig(), where="license = 'cc-by-4.0'")
        (row,) = pq.read_table(tmp_path / "corpus/plan/assets.parquet").to_pylist()
        files = locate(row).fetch(tmp_path / "cache/dataengine", Limits())
        assert files.main.read_bytes() == (museum / "jar.glb").read_bytes()
    finally:
        server.shutdown()
        server.server_close()
    assert (row["title"], row["licence"], row["source"]) == ("Jar", "cc-by-4.0", spec)


def test_a_rig_of_ones_own() -> None:
    names = block("A rig")
    rig: Rig = names["RIG"]
    assert [camera.azimuth for camera in names["cameras"]] == [0, 90, 180, 270]
    for camera in names["cameras"]:
        c2w, K = np.array(camera.c2w), np.array(camera.K)
        to_centre = -c2w[:3, 3]
        # The outline of a sphere of radius 0.5: tan of half its angle, times the focal length, in pixels.
        sine = 0.5 / np.linalg.norm(to_centre)
        outline = K[0, 0] * sine / np.sqrt(1 - sine**2)
        assert np.allclose(c2w[:3, 2] @ to_centre, np.linalg.norm(to_centre))
        assert outline == pytest.approx(0.95 * 128)
    assert rig.name == "turntable4"


def test_a_look_of_ones_own() -> None:
    look = block("A look")["LOOK"]
    assert look.name == "evening" and look.samples == LOOKS["studio"].samples
    assert look.to_json()["lights"][0]["colour"] == (1.0, 0.8, 0.6)


def test_a_tokenizer_of_ones_own(corpus: dataengine.Corpus) -> None:
    names = block("A tokenizer")
    assert (names["made"].ok, names["made"].failed) == (4, 1)
    query = "select grid, num_views, distinct_codes from tokens where tokenizer = 'mosaic' and status = 'ok'"
    for grid, views, codes in corpus.sql(query).fetchall():
        assert (grid, views) == ([4, 4], 3) and 1 < codes <= 8
    white = np.full((1, 32, 32, 3), 255, np.uint8)
    device = names["DeviceTokenizer"](names["tokenizer"], names["pick_device"]("cpu"))
    assert device.encode(white).unique().tolist() == [7]
    assert (device.decode_array(device.encode(white).numpy()) == white).all()


def test_training_on_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = make_view_corpus(tmp_path / "corpus", side=24)
    section = page("training.md").partition("## Training on pictures\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/training.md", "exec"), names)
    assert names["batch"]["colour"].shape == (4, 2, 3, 16, 16)
    train = len(dataengine.Catalog(corpus).uids(where="split = 'train' and status = 'ok'"))
    assert divmod(20, train) == (names["batch"]["state"]["epoch"], names["batch"]["state"]["samples"])
    assert names["views"].state_dict() == names["batch"]["state"]


def test_every_field_is_on_the_page() -> None:
    section = page("training.md").partition("## Training on pictures\n")[2].partition("\n## ")[0]
    written = {name for cells in tables(section) for name in re.findall(r"`(\w+)`", cells[0])}
    assert written == {*FIELDS, *TEXT}


def test_a_stage_of_ones_own(corpus: dataengine.Corpus) -> None:
    names = block("A stage")
    assert (names["made"].shards, names["made"].ok) == (1, 4)
    assert len(names["rows"]) == 4
    for _, colours in names["rows"]:
        assert np.shape(colours) == (3, 3) and all(0 < value < 256 for colour in colours for value in colour)
    assert not corpus.verify().differences
