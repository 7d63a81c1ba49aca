"""Bits that rot in a manifest: an error that names the file, or the right answer from elsewhere, never a wrong one."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from dataengine.cli import build
from dataengine.corpus.corpus import PLAN
from dataengine.corpus.fragments import fragment_name
from dataengine.errors import DataengineError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.compact import compact
from tests.synthetic import make_corpus

QUERY = "SELECT uid, status, shard FROM assets ORDER BY uid"


def rot(path: Path, column: str) -> None:
    """Flips a bit in the last byte of a column's pages."""
    schema = pq.read_schema(path)
    chunk = pq.read_metadata(path).row_group(0).column(schema.get_field_index(column))
    data = bytearray(path.read_bytes())
    first = min(o for o in (chunk.dictionary_page_offset, chunk.data_page_offset) if o)
    data[first + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(("name", "column"), [(fragment_name("views/orbit8", 0), "uid"), (PLAN, "uid")])
def test_rotten_bits_are_no_answer(tmp_path: Path, name: str, column: str) -> None:
    corpus = make_corpus(tmp_path / "corpus", 8)
    file = tmp_path / "corpus" / name
    pq.write_table(pq.read_table(file), file, write_page_checksum=True)  # as `plan` and commits write it
    assert Catalog(corpus).sql(QUERY).fetchall()
    rot(file, column)
    with pytest.raises(DataengineError, match=f"{name} is damaged: "):
        Catalog(corpus).sql(QUERY)
    result = CliRunner().invoke(build(), ["query", corpus.url, QUERY])
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1 and name in result.output


def test_a_file_that_rots_while_a_process_asks_is_looked_at_again(tmp_path: Path) -> None:
    """When its version changes; else it has been looked at, and the answer may come from memory."""
    corpus = make_corpus(tmp_path / "corpus", 8)
    catalog = Catalog(corpus)
    catalog.sql(QUERY).fetchall()
    rot(tmp_path / "corpus" / fragment_name("views/orbit8", 0), "uid")
    with pytest.raises(DataengineError, match="is damaged"):
        catalog.sql(QUERY)


def test_a_rotten_compacted_file_is_as_good_as_none(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", 8)
    wanted = Catalog(corpus).sql(QUERY).fetchall()
    compact(corpus)
    (file,) = (tmp_path / "corpus" / "compact").glob("assets-*.parquet")
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    file.write_bytes(data)
    assert Catalog(corpus).sql(QUERY).fetchall() == wanted


def test_compaction_copies_no_rotten_bits(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", 8)
    rot(tmp_path / "corpus" / fragment_name("views/orbit8", 1), "status")
    with pytest.raises(DataengineError, match="00001.parquet is damaged"):
        compact(corpus)
