from pathlib import Path

import pytest

from dataengine.corpus.output import whole_file
from dataengine.errors import UsageError


def test_a_file_appears_whole_or_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "figures.parquet"
    with whole_file(path) as file:
        file.write(b"one")
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt), whole_file(path) as file:
        file.write(b"half of")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"one"
    assert [p.name for p in tmp_path.iterdir()] == ["figures.parquet"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_full_disk_and_a_missing_folder_are_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="x.md"), whole_file(tmp_path / "nowhere" / "x.md"):
        pass
    with pytest.raises(UsageError, match="full") as found, whole_file(tmp_path / "x.md"):
        raise OSError(28, "No space left on device")
    assert "\n" not in str(found.value)
    assert list(tmp_path.iterdir()) == []
