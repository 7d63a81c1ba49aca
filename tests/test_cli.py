"""The command line as a person meets it: what works, and one clear line for each thing that cannot."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trimesh
from click.testing import CliRunner, Result

from dataengine.cli import build

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus with one good box, one file that is no model, and a copy of the box."""
    folder = tmp_path_factory.mktemp("cli")
    models = folder / "models"
    models.mkdir()
    trimesh.creation.box((1, 2, 3)).export(models / "box.glb")
    shutil.copy(models / "box.glb", models / "copy.glb")
    (models / "broken.stl").write_bytes(b"no")
    (models / "captions.csv").write_text("path,caption\nbox.glb,a grey box\n")
    os.environ["DATAENGINE_SPOOL"] = str(folder / "spool")
    runner = CliRunner()
    made = runner.invoke(
        build(),
        [
            "plan", str(folder / "corpus"), "--source", f"local:{models}", "--captions", str(models / "captions.csv"),
            "--resolution", "32", "--samples", "1",
        ],
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert "3 models found (1 duplicates)" in made.output
    rendered = runner.invoke(build(), ["render", str(folder / "corpus"), "--shard", "all"])
    assert rendered.exit_code == 0, rendered.output
    assert "1 asset rendered, 1 failed" in rendered.output
    return folder / "corpus"


@pytest.fixture
def run() -> Run:
    return lambda *words: CliRunner().invoke(build(), [str(w) for w in words])


def uid(run: Run, corpus: Path, status: str) -> str:
    rows = json.loads(
        run("query", corpus, f"select uid from assets where status = '{status}'", "--format", "json").stdout
    )
    return str(rows[0]["uid"])


def test_every_command_has_help(run: Run) -> None:
    for name, command in build().commands.items():
        assert command.help, name
        assert run(name, "--help").exit_code == 0


def test_help_and_status_import_neither_torch_nor_bpy(corpus: Path) -> None:
    code = (
        "import sys; from dataengine.cli import build; "
        f"build().main(['status', {str(corpus)!r}], standalone_mode=False); "
        "assert not {'torch', 'bpy', 'ray'} & set(sys.modules), 'heavy imports'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_query_tells_of_each_asset(run: Run, corpus: Path) -> None:
    out = run(
        "query", corpus, "select status, count(*) as n from assets group by status order by status", "--format", "csv"
    )
    assert out.stdout.splitlines() == ["status,n", "duplicate,1", "failed,1", "ok,1"]
    failures = run("query", corpus, "select error from failures", "--format", "csv").stdout.splitlines()
    assert failures == ["error", "MALFORMED"]


def test_status_shards_verify(run: Run, corpus: Path) -> None:
    assert "1 / 1" in run("status", corpus).stdout
    tars = run("shards", corpus, "views").stdout.split()
    assert [Path(t).exists() for t in tars] == [True]
    assert "all as written" in run("verify", corpus).stdout


def test_verify_finds_a_changed_byte_and_prunes_strays(run: Run, corpus: Path, tmp_path: Path) -> None:
    copy = tmp_path / "corpus"
    shutil.copytree(corpus, copy)
    tar = next((copy / "views/orbit8").glob("*.tar"))
    stray = tar.with_name("00000-0123456789abcdef.tar")
    shutil.copy(tar, stray)
    os.utime(stray, (0, 0))
    assert run("verify", copy, "--prune").exit_code == 0
    assert tar.exists() and not stray.exists()
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    found = run("verify", copy)
    assert found.exit_code == 1
    assert tar.name in found.stdout


def test_inspect_writes_a_picture_of_good_and_failed(run: Run, corpus: Path, tmp_path: Path) -> None:
    for status in ("ok", "failed"):
        done = run("inspect", corpus, uid(run, corpus, status), "-o", tmp_path / "sheet.png")
        assert done.exit_code == 0, done.output
        assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("convention", ["nerf", "blender", "opencv"])
def test_export_cameras(run: Run, corpus: Path, convention: str) -> None:
    good = uid(run, corpus, "ok")
    assert json.loads(run("export-cameras", corpus, good, "--to", convention).stdout)
    bad = run("export-cameras", corpus, uid(run, corpus, "failed"), "--to", convention)
    assert (bad.exit_code, "has no cameras" in bad.stderr) == (2, True)


def test_done_shards_are_left_alone_and_retry_takes_the_failures(run: Run, corpus: Path) -> None:
    assert "nothing to do" in run("render", corpus, "--shard", "0").stdout
    assert "0 assets rendered, 1 failed" in run("render", corpus, "--shard", "0", "--retry").stdout


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["plan", "{tmp}", "--source", "local:{tmp}/nowhere"], 2, "nowhere"),
        (["plan", "{tmp}", "--source", "local:{tmp}"], 2, "is empty"),
        (["plan", "{tmp}", "--source", "local:{models}", "--rig", "orbit9"], 2, "did you mean orbit8"),
        (["plan", "{tmp}", "--source", "local:{models}", "--look", "studyo"], 2, "studio"),
        (["plan", "{tmp}", "--source", "local:{models}", "--recipe", "objavers"], 2, "did you mean objaverse"),
        (
            ["plan", "{tmp}", "--source", "local:{models}", "--recipe", "objaverse", "--rig", "orbit8"],
            2,
            "already says",
        ),
        (["plan", "{tmp}", "--source", "local:{models}", "--resolution", "3"], 2, "resolution"),
        (["plan", "{tmp}", "--source", "local:{models}", "--captions", "{tmp}/none.csv"], 2, "none.csv"),
        (["plan", "{tmp}", "--source", "local:{models}", "--where", "byts > 3"], 2, "bytes"),
        (["plan", "{tmp}", "--source", "local:{models}", "--where", "bytes >"], 2, "--where"),
        (["plan", "{tmp}", "--source", "local:{models}", "--where", "bytes < 0"], 2, "--where"),
        (["plan", "{tmp}", "--source", "gopher:x"], 2, "gopher"),
        (["render", "{corpus}", "--shard", "1"], 0, "no shard 1: the plan has shards 0 to 0"),
        (["render", "{corpus}", "--shard", "0", "--device", "abacus"], 0, ""),
        (["render", "{tmp}", "--shard", "0"], 2, "is not a corpus"),
        (["query", "{corpus}", "select nothing from assets"], 2, "nothing"),
        (["query", "{corpus}", "drop table assets"], 2, "refused"),
        (["inspect", "{corpus}", "ffff"], 2, "ffff"),
        (["shards", "{corpus}", "pictures"], 2, "no stage 'pictures'"),
        (["verify", "nowhere://x"], 2, "nowhere"),
    ],
)
def test_bad_input_is_one_line(run: Run, corpus: Path, tmp_path: Path, words: list[str], code: int, line: str) -> None:
    places = {"tmp": tmp_path, "corpus": corpus, "models": corpus.parent / "models"}
    result = run(*(w.format(**places) for w in words))
    assert result.exit_code == code, result.output
    if code:
        *_, last = result.stderr.strip().splitlines()
        assert last.startswith("error: ") and line in last
        assert len(result.stderr.strip().splitlines()) == 1


def test_a_corpus_of_another_version_is_named(run: Run, corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path / "c")
    config = tmp_path / "c" / "corpus.yaml"
    config.write_text(config.read_text().replace("format: 2", "format: 99"))
    result = run("status", tmp_path / "c")
    assert result.exit_code == 2
    assert "format 99" in result.stderr and "plan into a new folder" in result.stderr
