"""Textures that are not where a model says: found below its folder by name, unless that would be a guess."""

from pathlib import Path

from dataengine.model_files.references import FolderIndex, References


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_moved_texture_is_found_by_its_bare_name(tmp_path: Path) -> None:
    wood = write(tmp_path / "a" / "Textures" / "Wood.png", b"wood")
    assert References(tmp_path).find_path(r"C:\Users\me\art\wood.PNG", tmp_path / "a") == wood
    assert References(tmp_path).find_path("../textures/wood.png", tmp_path / "a") == wood
    assert References(tmp_path).find_path("stone.png", tmp_path / "a") is None


def test_copies_of_one_texture_are_as_good_as_one(tmp_path: Path) -> None:
    first = write(tmp_path / "a" / "t.png", b"same")
    write(tmp_path / "b" / "t.png", b"same")
    assert References(tmp_path).find_path("/home/me/t.png", tmp_path) == first


def test_several_that_differ_are_none(tmp_path: Path) -> None:
    write(tmp_path / "a" / "t.png", b"one")
    write(tmp_path / "b" / "t.png", b"two")
    assert References(tmp_path).find_path("/home/me/t.png", tmp_path) is None


def test_a_link_that_leads_away_is_not_followed(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret" / "t.png", b"secret")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "sub").mkdir()
    (tmp_path / "models" / "sub" / "t.png").symlink_to(secret)
    assert References(tmp_path / "models").find_path("/home/me/t.png", tmp_path / "models") is None


def test_a_texture_that_arrives_later_is_found(tmp_path: Path) -> None:
    assert References(tmp_path).find_path("/home/me/t.png", tmp_path) is None
    late = write(tmp_path / "a" / "t.png", b"late")
    assert References(tmp_path).find_path("/home/me/t.png", tmp_path) == late


def test_models_of_one_folder_share_a_look_at_it(tmp_path: Path) -> None:
    index = FolderIndex()
    assert References(tmp_path, index).find_path("/home/me/t.png", tmp_path) is None
    write(tmp_path / "a" / "t.png", b"late")
    assert References(tmp_path, index).find_path("/home/me/t.png", tmp_path) is None


def test_what_is_not_there_is_known_by_its_places_inside_the_root(tmp_path: Path) -> None:
    references = References(tmp_path)
    references.find_path("../../maps/t.png", tmp_path / "models", strict=False)
    references.find_uri("a%20b.bin", tmp_path / "models")
    assert references.missing == {tmp_path / "models/t.png", tmp_path / "models/a b.bin"}
