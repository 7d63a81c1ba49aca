"""A bucket that fails: `query` and `status` end with exit code 1 and one line that names the object."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dataengine.cli import build
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError, UsageError
from dataengine.manifests.catalog import Catalog
from tests.synthetic import make_corpus

ANSWERS = {
    "5xx": OSError(5, "An error occurred (500) when calling the GetObject operation: Internal Server Error"),
    "garbled": ValueError("Could not parse the response: not well-formed (invalid token): line 1, column 2"),
    "a client's own error": RuntimeError("reached max retries: 4"),
}


@pytest.mark.parametrize("error", ANSWERS.values(), ids=ANSWERS.keys())
@pytest.mark.parametrize("words", [["query", "select count(*) from assets"], ["status"]])
def test_one_line_and_exit_code_1(
    s3_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    error: Exception,
    words: list[str],
) -> None:
    make_corpus(s3_url, 8, tmp=tmp_path)
    fs = type(Store(s3_url).fs)
    monkeypatch.setattr("dataengine.corpus.storage.time.sleep", lambda seconds: None)
    real = fs._cat_file

    async def fails(self: Any, path: str, *more: Any, **named: Any) -> Any:
        if "views/orbit8/00001" in path:
            raise error
        return await real(self, path, *more, **named)

    monkeypatch.setattr(fs, "_cat_file", fails)
    fs.clear_instance_cache()  # an instance keeps the methods that it was made with
    request.addfinalizer(fs.clear_instance_cache)
    done = CliRunner().invoke(build(), [words[0], s3_url, *words[1:]])
    assert done.exit_code == 1, done.output
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert "views/orbit8/00001.parquet" in line
    assert "Traceback" not in done.output and "itself failed" not in line


def test_a_wrong_query_is_still_a_wrong_query(s3_url: str, tmp_path: Path) -> None:
    make_corpus(s3_url, 4, tmp=tmp_path)
    with pytest.raises(UsageError, match="nonsense"):
        Catalog(s3_url).sql("select nonsense from assets")


def test_a_text_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 4)
    path = tmp_path / "views" / "orbit8" / "00000.parquet"
    path.write_bytes(path.read_bytes().replace(b"failed", b"fa\xffled", 1))
    done = CliRunner().invoke(build(), ["query", str(tmp_path), "select * from assets", "--format", "json"])
    assert done.exit_code in (0, 1)
    assert "itself failed" not in done.output and "Traceback" not in done.output
    with pytest.raises(DataengineError):
        corpus.fragment("views/orbit8", 0)
