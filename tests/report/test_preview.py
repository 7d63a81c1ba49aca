"""`preview`: one file, with Blender, without a corpus."""

import re
from pathlib import Path

import pytest
import trimesh
from click.testing import CliRunner, Result
from PIL import Image

from dataengine.cli import build
from dataengine.errors import ErrorCode
from dataengine.render.scratch import roomiest
from dataengine.report.explained import EXPLAINED

PAGE = (Path(__file__).parents[2] / "docs/errors.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))


def run(*words: str) -> Result:
    return CliRunner().invoke(build(), ["preview", *words])


def test_a_good_file_is_rendered_checked_and_shown(tmp_path: Path) -> None:
    trimesh.creation.box((1, 2, 3)).export(tmp_path / "box.glb")
    (tmp_path / "other.glb").write_bytes(b"not looked at")
    before = set(roomiest().iterdir())
    done = run("box.glb", "-o", "box.png", "--rig", "six_views", "--resolution", "32", "--samples", "1")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "box.glb: rendered; nothing is suspicious"
    assert any(re.match(r"geometry +12 triangles, \d+ vertices, 1 objects", line) for line in lines)
    assert "views             6 of 32 x 32 pixels" in lines
    assert lines[-1] == "wrote box.png" and not [line for line in lines if line.startswith(("tar", "licence"))]
    with Image.open(tmp_path / "box.png") as picture:
        assert picture.width > 1000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["box.glb", "box.png", "other.glb", "spool"]
    assert set(roomiest().iterdir()) <= before and not list((tmp_path / "spool").iterdir())


def test_a_bad_file_is_explained_and_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "bad.stl").write_bytes(b"no")
    done = run("bad.stl")
    assert done.exit_code == 1
    first, meaning, remedy, *_ = done.stdout.splitlines()
    assert first.startswith("bad.stl failed: MALFORMED: ")
    assert meaning.split("  ")[-1].strip() == EXPLAINED[ErrorCode.MALFORMED][0]
    assert remedy.split("  ")[-1].strip() == EXPLAINED[ErrorCode.MALFORMED][1]
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.glb"], "there is no file nowhere.glb"),
        (["notes.txt"], "notes.txt is not called like a model"),
        (["nowhere.glb", "--rig", "orbit9"], "did you mean orbit8"),
    ],
)
def test_what_cannot_be_asked_is_one_line(words: list[str], said: str) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ") and said in done.stderr and done.stderr.count("\n") == 1


def test_the_page_of_errors_says_the_same() -> None:
    rows = re.findall(r"^\| `([A-Z_0-9]+)` \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)
    unlinked = [(code, re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", f"{mean}|{do}")) for code, mean, do in rows]
    assert unlinked == [(code.value, "|".join(words)) for code, words in EXPLAINED.items()]
    assert list(EXPLAINED) == list(ErrorCode)
