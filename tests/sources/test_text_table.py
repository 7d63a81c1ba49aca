"""Tables as other programs write them; the right cells are RFC 4180's, or those that Python's csv writer was given."""

import csv
import io
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataengine.corpus.config import RenderConfig
from dataengine.download.http import Downloader
from dataengine.sources.captions import load_captions
from dataengine.sources.sidecar import read_sidecar
from dataengine.sources.text_table import TextTable, delimiter_of, write_clean
from dataengine.stages.plan import plan_corpus
from tests import asset_files as files

A, B, C = ("0123456789abcdef" * 2, "1123456789abcdef" * 2, "2123456789abcdef" * 2)


def no_downloads() -> Downloader:
    raise AssertionError("nothing to download here")


def captions(path: Path) -> tuple[dict[str, str], list[str]]:
    with duckdb.connect() as con:
        notes = load_captions(con, [str(path)], no_downloads)
        return dict(con.execute("select key, caption from captions").fetchall()), notes


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("header", [True, False])
def test_line_ends_and_encodings(tmp_path: Path, end: str, encoding: str, header: bool) -> None:
    path = tmp_path / "c.csv"
    rows = [["uid", "caption"]] if header else []
    rows += [[A, 'un café, "rouge"'], [B, "two"]]
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding))
    read, notes = captions(path)
    assert read == {A: 'un café, "rouge"', B: "two"}
    assert bool(notes) == (encoding == "latin-1")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("inner", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n", "\r\n"])
def test_lines_within_a_cell(tmp_path: Path, end: str, inner: str, last: str) -> None:
    """Python's csv.writer ends rows in CRLF and leaves what is in a cell alone."""
    path = tmp_path / "c.csv"
    path.write_bytes(f'{A},"a chair{inner}newline"{end}{B},b{last}'.encode())
    assert captions(path) == ({A: f"a chair{inner}newline", B: "b"}, [])


def test_rows_that_cannot_be_read_are_refused_by_their_line(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text(f'uid,caption\n{A},a\n{B},b, and more\n{C},"two\nlines"\nshort\n\n{B},later\n')
    read, notes = captions(path)
    assert read == {A: "a", C: "two\nlines", B: "later"}
    (note,) = notes
    assert "2 rows (on lines 3, 6)" in note and str(path) in note and "2 cells" in note


def test_a_quote_that_is_never_closed_costs_its_row_only(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text(f'uid,caption\n{A},a 5" pipe\n{B},"open\n{C},c\n')
    read, notes = captions(path)
    assert read == {A: 'a 5" pipe', C: "c"}
    (note,) = notes
    assert "the row on line 3 is refused" in note and "never closed" in note


@pytest.mark.parametrize("mark", ["\t", ";"])
def test_other_delimiters(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "c.csv"
    path.write_text(f"uid{mark}caption\n{A}{mark}red, and green\n")
    assert captions(path) == ({A: "red, and green"}, [])


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(
    rows=st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
            min_size=2,
            max_size=2,
        ),
        max_size=6,
    ),
    end=st.sampled_from(["\n", "\r\n"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_csv_writes_is_read_back(tmp_path: Path, rows: list[list[str]], end: str) -> None:
    path = tmp_path / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as f:
        csv.writer(f, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    table = TextTable(path)
    assert [cells for _, cells in table.rows()] == [row for row in rows if any(cell.strip() for cell in row)]
    assert not table.refused


def test_a_clean_copy(tmp_path: Path) -> None:
    path, clean = tmp_path / "l.csv", tmp_path / "clean.csv"
    path.write_bytes('a;b\r\n1;2\r\n3\r\n\r\né;"x\ny"\n'.encode("latin-1"))
    table = TextTable(path, delimiter_of(path))
    assert write_clean(table, clean) == 3
    assert clean.read_bytes() == 'a,b\n1,2\né,"x\ny"\n'.encode()
    assert len(table.notes("l.csv")) == 2


def test_a_folders_own_csv(tmp_path: Path) -> None:
    text = 'path,author,title\r\na.glb,José,"two\nlines"\r\nb.glb,"open\n'
    (tmp_path / "assets.csv").write_bytes(text.encode("latin-1"))
    sidecar = read_sidecar(tmp_path)
    assert sidecar.rows == {"a.glb": {"author": "José", "title": "two\nlines"}}
    assert any("never closed" in n for n in sidecar.notes) and any("Windows-1252" in n for n in sidecar.notes)


def plan(folder: Path, text: bytes) -> tuple[list[dict[str, object]], tuple[str, ...]]:
    (folder / "list.csv").write_bytes(text)
    summary = plan_corpus(folder / "corpus", sources=[f"csv:{folder / 'list.csv'}"], render=RenderConfig())
    return pq.read_table(folder / "corpus/plan/assets.parquet").to_pylist(), summary.notes


def test_a_list_of_any_make(tmp_path: Path) -> None:
    (tmp_path / "a.glb").write_bytes(files.glb())
    rows, notes = plan(
        tmp_path, 'uri,title,faces\r\na.glb,"caf\xe9\nnoir",3\r\nb.glb,x\r\nhttp://h/c.glb,y,12\n'.encode("latin-1")
    )
    assert {(r["uri"], r["title"]) for r in rows} == {(str(tmp_path / "a.glb"), "café\nnoir"), ("http://h/c.glb", "y")}
    assert any("line 4" in n for n in notes)


@pytest.mark.parametrize(
    ("url", "format"),
    [
        ("http://h/a.glb?x=1&y=.obj", "glb"),
        ("http://h/a.GLB#frag", "glb"),
        ("http://h/a.usdz?X-Amz-Signature=b.c", "usd"),
        ("http://h/dl", ""),
        ("http://h/a.tar.xyz", "xyz"),
        ('http://h/a."""', ""),
        ("models/a#1.obj", "obj"),
    ],
)
def test_odd_addresses_cost_no_one_else(tmp_path: Path, url: str, format: str) -> None:
    quoted = '"' + url.replace('"', '""') + '"'
    rows, _ = plan(tmp_path, f"url,caption\n{quoted},one\nhttp://h/good.glb,two\n".encode())
    assert {str(r["caption"]): r["format"] for r in rows} == {"one": format, "two": "glb"}


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("[untitled] a chair", "[untitled] a chair"),
        ("['single', 'quotes']", "['single', 'quotes']"),
        ('["first", "second"]', "first"),
        ("[", "["),
        ("[]", None),
        ("{'a': 1}", "{'a': 1}"),
    ],
)
def test_odd_captions_in_a_list(tmp_path: Path, text: str, caption: str | None) -> None:
    quoted = '"' + text.replace('"', '""') + '"'
    rows, _ = plan(tmp_path, f"url,captions\nhttp://h/a.glb,{quoted}\nhttp://h/b.glb,two\n".encode())
    assert [r["caption"] for r in sorted(rows, key=lambda r: str(r["uri"]))] == [caption, "two"]
