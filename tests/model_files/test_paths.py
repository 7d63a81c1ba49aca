"""Textures that are not where a model says: found below its folder by name, unless that would be a guess."""

from pathlib import Path

from dataengine.model_files.paths import locate_path


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_moved_texture_is_found_by_its_bare_name(tmp_path: Path) -> None:
    wood = write(tmp_path / "a" / "Textures" / "Wood.png", b"wood")
    assert locate_path(r"C:\Users\me\art\wood.PNG", tmp_path / "a", tmp_path) == wood
    assert locate_path("../textures/wood.png", tmp_path / "a", tmp_path) == wood
    assert locate_path("stone.png", tmp_path / "a", tmp_path) is None


def test_copies_of_one_texture_are_as_good_as_one(tmp_path: Path) -> None:
    first = write(tmp_path / "a" / "t.png", b"same")
    write(tmp_path / "b" / "t.png", b"same")
    assert locate_path("/home/me/t.png", tmp_path, tmp_path) == first


def test_several_that_differ_are_none(tmp_path: Path) -> None:
    write(tmp_path / "a" / "t.png", b"one")
    write(tmp_path / "b" / "t.png", b"two")
    assert locate_path("/home/me/t.png", tmp_path, tmp_path) is None


def test_a_link_that_leads_away_is_not_followed(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret" / "t.png", b"secret")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "sub").mkdir()
    (tmp_path / "models" / "sub" / "t.png").symlink_to(secret)
    assert locate_path("/home/me/t.png", tmp_path / "models", tmp_path / "models") is None
