"""The weights that ship."""

from dataengine.training.reconstruct.weights import FOLDER, SHIPPED, load_reconstructor, report_of


def test_what_ships_is_small_and_says_how_it_was_made() -> None:
    file = FOLDER / f"{SHIPPED}.safetensors"
    assert file.stat().st_size < 10e6
    assert load_reconstructor().config == load_reconstructor(file).config
    report = report_of(file)
    assert report["steps"] > 0
    assert report["objects"] > 0
