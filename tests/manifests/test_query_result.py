"""Results as programs read them."""

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.query_result import write_result
from tests.synthetic import make_corpus

QUERY = """
    SELECT 1 AS i, 0.5 AS x, 'NaN'::DOUBLE AS nan, NULL AS nothing, 'a,"b"
é' AS text, [1.5, NULL] AS list, {'a': 1} AS struct, TIMESTAMPTZ '2026-01-02 03:04:05+00' AS at
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(make_corpus(tmp_path / "c", 4, views=[]))


def test_json(catalog: Catalog, tmp_path: Path) -> None:
    write_result(catalog.sql(QUERY), "json", tmp_path / "x.json")
    (row,) = json.loads((tmp_path / "x.json").read_text())
    assert row == {
        "i": 1,
        "x": 0.5,
        "nan": None,
        "nothing": None,
        "text": 'a,"b"\né',
        "list": [1.5, None],
        "struct": {"a": 1},
        "at": "2026-01-02T03:04:05+00:00",
    }


def test_csv(catalog: Catalog, tmp_path: Path) -> None:
    write_result(catalog.sql(QUERY), "csv", tmp_path / "x.csv")
    head, row = csv.reader(io.StringIO((tmp_path / "x.csv").read_text(), newline=""))
    assert dict(zip(head, row, strict=True)) == {
        "i": "1",
        "x": "0.5",
        "nan": "nan",
        "nothing": "",
        "text": 'a,"b"\né',
        "list": "[1.5, null]",
        "struct": '{"a": 1}',
        "at": "2026-01-02T03:04:05+00:00",
    }


def test_parquet(catalog: Catalog, tmp_path: Path) -> None:
    write_result(catalog.sql("FROM assets"), "parquet", tmp_path / "x.parquet")
    assert pq.read_table(tmp_path / "x.parquet").num_rows == 4


@pytest.mark.parametrize("format", ["csv", "json", "table"])
def test_many_and_none(catalog: Catalog, format: str, tmp_path: Path) -> None:
    write_result(catalog.sql("FROM range(25_000)"), format, tmp_path / "many")
    text = (tmp_path / "many").read_text()
    if format == "json":
        assert len(json.loads(text)) == 25_000
    elif format == "csv":
        assert text.count("\n") == 25_001
    else:
        assert "25,000 rows, of which the first 50 are shown" in text
    write_result(catalog.sql("FROM assets WHERE false"), format, tmp_path / "none")
    assert format != "json" or json.loads((tmp_path / "none").read_text()) == []


def test_to_stdout(catalog: Catalog, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_result(catalog.sql("SELECT 1 AS a"), "csv")
    assert capfdbinary.readouterr().out == b"a\n1\n"
    write_result(catalog.sql("FROM assets"), "parquet")
    assert pq.read_table(io.BytesIO(capfdbinary.readouterr().out)).num_rows == 4


def test_table_shows_brackets_as_they_are(catalog: Catalog, tmp_path: Path) -> None:
    write_result(catalog.sql("SELECT '[red]x' AS a, ['[b]'] AS l"), "table", tmp_path / "t")
    assert "[red]x" in (tmp_path / "t").read_text()


def test_what_goes_wrong_leaves_no_file(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Could not convert string 'x'"):
        write_result(catalog.sql("SELECT CAST(t AS INT) FROM (VALUES ('x')) v(t)"), "csv", tmp_path / "x.csv")
    with pytest.raises(UsageError, match="unknown format 'xml'"):
        write_result(catalog.sql("SELECT 1"), "xml")
    with pytest.raises(UsageError, match="nowhere"):
        write_result(catalog.sql("SELECT 1"), "csv", tmp_path / "nowhere/x.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
