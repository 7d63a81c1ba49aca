"""Headings of pictures: none may run into the next column's."""

import numpy as np
import pytest
import torch
from PIL import Image

from dataengine.tokenize.detokenize import sheet as round_trip_sheet
from dataengine.training.contact_sheet import sheet

HEADS = ["azimuth 270, elevation 30", "azimuth 0, elevation 30"]
NOTES = ["27.1 dB, object 22.3"] * 2


def ink(picture: Image.Image, left: int, right: int) -> int:
    """Dark pixels of columns in what is above the pictures, which are white here."""
    return int((np.asarray(picture.convert("L"))[:30, left:right] < 128).sum())


@pytest.mark.parametrize("side", [80, 96, 128, 256])
def test_headings_stay_in_their_column(side: int) -> None:
    both = sheet([("given", torch.ones(2, 3, side, side))], heads=HEADS)
    one = sheet([("given", torch.ones(2, 3, side, side))], heads=[HEADS[0], ""])
    assert ink(one, side - 3, 2 * side) == 0 < ink(one, 0, side)
    assert ink(both, side, 2 * side) > 0


def test_many_views_go_on_below() -> None:
    """Of 20 views beside one, each as bright as its number says, the 8th to 15th and the rest are further down."""
    side, label = 16, 16
    numbered = (torch.arange(20) / 20)[:, None, None, None].expand(-1, 3, side, side)
    picture = np.asarray(sheet([("all", numbered), ("one", torch.zeros(1, 3, side, side))]).convert("L")) / 255
    assert picture.shape == ((4 * (side + label)), 8 * side)  # two rows, then one and one: the other has no more
    for view, top in ((0, 0), (7, 0), (8, 2), (15, 2), (16, 3), (19, 3)):
        middle = picture[top * (side + label) + label + side // 2, view % 8 * side + side // 2]
        assert abs(middle - view / 20) < 0.01


@pytest.mark.parametrize("side", [64, 96, 128])
def test_notes_stay_in_their_column(side: int) -> None:
    views = np.full((2, side, side, 3), 255, np.uint8)
    picture = round_trip_sheet(views, {"decoded": views}, [NOTES[0], ""])
    margin = picture.width - 2 * side
    assert ink(picture, margin + side - 1, picture.width) == 0 < ink(picture, margin, margin + side)
