"""A base installation reads, queries and publishes; what needs more says what to install."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from dataengine.corpus.corpus import Corpus
from dataengine.extras import EXTRAS
from tests.view_corpus import make_view_corpus

# As if the packages of the extras were not there: an import of None is an import of nothing.
BASE = f"""
import sys
sys.modules.update(dict.fromkeys({[*EXTRAS, "einops", "trimesh"]!r}))
from dataengine.cli import main
main()
"""


def base(*words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", BASE, *words], capture_output=True, text=True, timeout=100, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_view_corpus(tmp_path_factory.mktemp("base") / "corpus", assets=3)


def test_a_base_installation_reads_and_publishes(corpus: Corpus, tmp_path: Path) -> None:
    uid = corpus.plan(0)["uid"][0].as_py()
    for words in (
        ("--help",),
        ("query", corpus.url, "select count(*) from views"),
        ("status", corpus.url, "--json"),
        ("verify", corpus.url),
        ("sheet", corpus.url, "-o", str(tmp_path / "sheet.png")),
        ("report", corpus.url, "-o", str(tmp_path / "pages")),
        ("publish", corpus.url, str(tmp_path / "published"), "--include-non-commercial", "--include-unknown-licences"),
        ("export", corpus.url, str(tmp_path / "out"), "--as", "nerf"),
        ("attribution", corpus.url, "-o", str(tmp_path / "CREDITS.md")),
        ("remove", corpus.url, uid, "--reason", "its owner asked", "--yes"),
    ):
        code, said = base(*words)
        assert code == 0, (words, said)


@pytest.mark.parametrize(
    ("words", "extra"),
    [  # rendering says it from the Blender process, see launch.cannot_start
        (("tokenize", "CORPUS"), "train"),
        (("train", "RUN", "CORPUS", "--stage", "i2mv"), "train"),
        (("run", "CORPUS"), "cluster"),
        (("inspect", "CORPUS", "UID", "-o", "view.rrd"), "rerun"),
    ],
)
def test_what_needs_more_says_what_to_install(
    corpus: Corpus, tmp_path: Path, words: tuple[str, ...], extra: str
) -> None:
    places = {"CORPUS": corpus.url, "RUN": str(tmp_path / "run"), "UID": corpus.plan(0)["uid"][1].as_py()}
    code, said = base(*(places.get(word, word) for word in words))
    assert code in (1, 2), said
    assert f"pip install 'dataengine[{extra}]'" in said and "Traceback" not in said


def test_an_interpreter_without_blender_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setenv("DATAENGINE_BLENDER_PYTHON", str(tmp_path / "bare/bin/python"))
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    (tmp_path / "models").mkdir()
    (tmp_path / "models/chair.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    url = str(tmp_path / "corpus")
    assert base("plan", url, "--source", f"local:{tmp_path / 'models'}")[0] == 0
    code, said = base("render", url)
    assert code == 1, said
    assert "pip install 'dataengine[render]'" in said and "Traceback" not in said


def test_python_says_it_too() -> None:
    code = "import sys; sys.modules['torch'] = None\nimport dataengine; dataengine.Views"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ImportError: dataengine.Views: this needs torch: pip install 'dataengine[train]'" in done.stderr
