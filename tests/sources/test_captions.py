from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataengine.corpus.config import RenderConfig
from dataengine.corpus.corpus import Corpus
from dataengine.download.http import Downloader
from dataengine.errors import DataengineError, UsageError
from dataengine.sources.captions import CAP3D, load_captions
from dataengine.stages.plan import plan_corpus
from tests import asset_files as files
from tests.hub_server import COMMIT, Hub

UID = "0123456789abcdef0123456789abcdef"


def no_downloads() -> Downloader:
    raise AssertionError("nothing to download here")


def load(*names: Path) -> list[tuple[str, str, int]]:
    with duckdb.connect() as con:
        load_captions(con, [str(n) for n in names], no_downloads)
        return con.execute("select key, caption, file from captions order by file, key").fetchall()


def test_cap3d_as_published(tmp_path: Path) -> None:
    path = tmp_path / "Cap3D.csv"
    path.write_text(
        f'{UID},"a chair, red, with ""arms"""\n{"f" * 64},"two\nlines"\n{UID},a second caption\n{"e" * 32},\n'
    )
    assert load(path) == [(UID, 'a chair, red, with "arms"', 0), ("f" * 64, "two\nlines", 0)]


def test_any_header_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ufeffscore, UID ,Caption\n1,x,one\n2,y,\n")
    (tmp_path / "b.csv").write_text("file_identifier,text\nhttps://x/y.glb,two\n")
    pq.write_table(pa.table({"caption": ["three"], "n": [1], "path": ["c/d.glb"]}), tmp_path / "c.parquet")
    assert load(tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "c.parquet") == [
        ("x", "one", 0),
        ("https://x/y.glb", "two", 1),
        ("c/d.glb", "three", 2),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"foo,bar\n1,2\n", "first line is: foo, bar"),
        (b"uid,bar\n1,2\n", "need a caption column"),
        (b"foo,caption\n1,2\n", "need a key column"),
        (b"only one\n", "two columns or more"),
        (b"", "two columns or more"),
        (b"\xff\xfe\x00,\x01\n", "two columns or more"),
        (b"\xff\xfe\x00", "neither Parquet nor CSV"),
        (b"PAR1 is not enough", "cannot be read"),
    ],
)
def test_a_file_that_is_no_captions_is_one_clear_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "c.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError) as error:
        load(path)
    assert words in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_or_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UsageError, match="no caption file"):
            load(path)


def test_keys_find_assets_by_uid_path_and_stem(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for i, name in enumerate((f"{UID}.glb", "a/model.glb", "b/model.glb", "chair.glb", "chair.obj", "none.glb")):
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        (models / name).write_bytes(files.glb(i + 1))
    (tmp_path / "c.csv").write_text(f"{UID},by stem\n")
    (tmp_path / "d.csv").write_text(f"path,caption\na/model.glb,by path\nmodel,two models\nchair,both\n{UID},late\n")
    plan_corpus(
        tmp_path / "c",
        sources=[f"local:{models}"],
        render=RenderConfig(),
        captions=[str(tmp_path / "c.csv"), str(tmp_path / "d.csv")],
    )
    table = pq.read_table(tmp_path / "c/plan/assets.parquet").to_pylist()
    assert {str(Path(r["uri"]).relative_to(models)): r["caption"] for r in table} == {
        f"{UID}.glb": "by stem",
        "a/model.glb": "by path",
        "b/model.glb": None,
        "chair.glb": "both",
        "chair.obj": "both",
        "none.glb": None,
    }


def test_cap3d_from_the_hub_at_a_pinned_revision(hub: Hub, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / f"models/{UID}.glb").write_bytes(files.glb())
    hub.files[f"/datasets/{CAP3D}/resolve/{COMMIT}/Cap3D_automated_Objaverse_full.csv"] = f"{UID},a duck\n".encode()
    hub.files[f"/datasets/{CAP3D}/resolve/v1/old.csv"] = f"{UID},an old duck\n".encode()

    def caption(corpus: str, spec: str) -> str:
        plan_corpus(
            tmp_path / corpus,
            sources=[f"local:{tmp_path / 'models'}"],
            render=RenderConfig(),
            captions=[spec],
            cache=cache,
        )
        return str(pq.read_table(tmp_path / corpus / "plan/assets.parquet")["caption"][0])

    assert caption("c", "cap3d") == "a duck"
    assert Corpus.open(tmp_path / "c").config.captions == (f"cap3d:Cap3D_automated_Objaverse_full.csv@{COMMIT}",)
    asked = hub.requests.total()
    assert caption("c", "cap3d:full") == "a duck"
    assert hub.requests.total() == asked
    assert caption("d", "cap3d:old.csv@v1") == "an old duck"
    with pytest.raises(UsageError, match="use cap3d:full, cap3d:objaverse"):
        caption("e", "cap3d:human")
    with pytest.raises(DataengineError, match=r"Cap3D_automated_ABO.csv.*404"):
        caption("e", "cap3d:abo")
