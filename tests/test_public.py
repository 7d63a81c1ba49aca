"""The public face: `import dataengine`, its names, and what docs/python.md says of them."""

import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trimesh

import dataengine

ROOT = Path(__file__).parents[1]
NAMES = [
    "AssetFailure", "Catalog", "Corpus", "DataengineError", "ErrorCode", "Stage", "Stream", "UsageError", "Views",
    "__version__", "decode", "evaluate", "open", "plan", "sample", "train",
]  # fmt: skip
VERBS = (
    "fetch", "render", "tokenize", "run", "sql", "status", "verify", "stream", "webdataset", "caption", "remove",
)  # fmt: skip

EVERYTHING_FIRST = """
import importlib, json, pkgutil, sys
import dataengine
left_out = ("dataengine.__main__", "dataengine.render.blender")  # run a program; belong inside Blender
for module in pkgutil.walk_packages(dataengine.__path__, "dataengine."):
    if not module.name.startswith(left_out):
        importlib.import_module(module.name)
kinds = {name: type(getattr(dataengine, name)).__name__ for name in dir(dataengine)}
import dataengine.training.trainer
assert dataengine.tokenize.load and dataengine.render.__path__
print(json.dumps(kinds))
"""


def test_the_public_names_are_these_and_no_others() -> None:
    assert sorted(dataengine.__all__) == sorted(NAMES)
    assert sorted(dir(dataengine)) == sorted([*NAMES, "render", "tokenize"])
    for name in NAMES:
        assert getattr(dataengine, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'plam'"):
        dataengine.plam  # noqa: B018


def test_no_submodule_takes_the_place_of_a_public_name() -> None:
    out = subprocess.run([sys.executable, "-c", EVERYTHING_FIRST], check=True, capture_output=True, text=True).stdout
    kinds = json.loads(out)
    functions = {"decode", "evaluate", "open", "plan", "sample", "train"}
    assert {name for name, kind in kinds.items() if kind == "function"} == functions
    assert {name for name, kind in kinds.items() if kind == "module"} == {"render", "tokenize"}
    assert {name for name, kind in kinds.items() if kind == "str"} == {"__version__"}


def test_the_package_and_its_packages_come_when_they_are_asked_for() -> None:
    code = (
        "import sys, dataengine; assert not {'numpy', 'pyarrow', 'pydantic', 'fsspec'} & set(sys.modules); "
        "dataengine.open; assert not {'torch', 'duckdb', 'ray'} & set(sys.modules); "
        "assert dataengine.tokenize.load and dataengine.render.__path__"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_everything_public_says_what_it_does() -> None:
    for name in NAMES:
        if name != "__version__":
            assert (getattr(dataengine, name).__doc__ or "").strip(), name
    for verb in VERBS:
        assert getattr(dataengine.Corpus, verb).__doc__, verb


def test_the_page_on_python_shows_every_name_and_verb() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"dataengine.{name}" in page or name in ("Corpus", "__version__"), name
    for verb in VERBS:
        assert f"corpus.{verb}(" in page, verb


def test_the_snippets_of_the_page_on_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    (tmp_path / "models").mkdir()
    for name, size in (("flat", (3, 2, 1)), ("tall", (1, 1, 3)), ("cube", (2, 2, 2))):
        trimesh.creation.box(size).export(tmp_path / "models" / f"{name}.glb")
    (tmp_path / "models" / "broken.stl").write_bytes(b"no model")
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for snippet in snippets:
            exec(compile(snippet, "docs/python.md", "exec"), names)
    text = printed.getvalue()
    assert text.startswith("1 3 1\n[('views/orbit8', 1, 1), ")
    assert "torch.Size([2, 8, 8, 8]) torch.Size([2, 8, 30])" in text
    assert "torch.Size([2, 4, 3, 32, 32]) torch.Size([2, 4, 1, 32, 32]) torch.Size([2, 4, 3, 3])" in text
    assert "finished 2 run/i2mv/checkpoints/00000002" in text
    assert "Made(shards=1, ok=2, failed=1)" in text
    assert "nowhere is not a corpus" in text
    assert sorted(p.name for p in (tmp_path / "drawn").glob("view_*.png")) == [f"view_{i:02d}.png" for i in range(4)]
    rows = dataengine.open(tmp_path / "corpus").sql("select brightness from brightness where status = 'ok'").fetchall()
    assert len(rows) == 2 and all(len(b) == 8 and all(0 < v < 255 for v in b) for (b,) in rows)


def test_wrong_settings_are_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    trimesh.creation.box((1, 1, 1)).export(tmp_path / "models" / "box.glb")
    with pytest.raises(dataengine.UsageError, match="there is no rig 'orbit9'; did you mean orbit8"):
        dataengine.plan(tmp_path / "c", [f"local:{tmp_path / 'models'}"], rig="orbit9")
    corpus = dataengine.plan(tmp_path / "c", [f"local:{tmp_path / 'models'}"])
    assert isinstance(corpus, dataengine.Corpus) and len(corpus.shards()) == 1
    for settings, said in (
        ({"steps": 0}, "steps: input should be greater than or equal to 1"),
        ({"stepps": 3}, "stepps: extra inputs are not permitted"),
    ):
        with pytest.raises(dataengine.UsageError) as found:
            dataengine.train(tmp_path / "run", corpus, "i2mv", **settings)
        assert str(found.value) == said
    with pytest.raises(dataengine.UsageError, match="has no tokens yet|no tokens"):
        dataengine.train(tmp_path / "run", corpus, "i2mv", device="cpu")
    with pytest.raises(dataengine.UsageError, match="unknown|there is"):
        corpus.tokenize("large")
