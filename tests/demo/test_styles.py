"""Styles: each shows in pixels, and a caption's parts are read from its drawings as from plain ones."""

import numpy as np
import pytest

from darkroom.bench.demo_check import accuracy
from darkroom.bench.style_check import height_share, inner_share
from darkroom.demo import world
from darkroom.demo.drawing import draw
from darkroom.demo.styles import STYLES, Style, plain, sketch, squashed
from darkroom.demo.world import Scene


def drawn(scenes: list[Scene], style: Style) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.stack([draw(scene, rng, style) for scene in scenes])


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return world.scenes(11, 12, held_out=False)


def test_a_style_shows_in_pixels(scenes: list[Scene]) -> None:
    styles = (plain, sketch, squashed)
    inner = {style: np.mean([inner_share(each) for each in drawn(scenes, style)]) for style in styles}
    height = {style: np.mean([height_share(each) for each in drawn(scenes, style)]) for style in styles}
    assert inner[sketch] < 0.52 < 0.6 < min(inner[plain], inner[squashed])
    assert height[squashed] < 0.65 < 0.9 < min(height[plain], height[sketch])


@pytest.mark.parametrize("style", STYLES)
def test_captions_are_read_from_drawings_in_a_style(scenes: list[Scene], style: str) -> None:
    found = accuracy(drawn(scenes, STYLES[style]), scenes, (plain, STYLES[style]))
    assert found.background == found.colour == found.size == 1
    assert found.everything >= 0.9


def test_a_style_takes_away_and_adds_nothing(scenes: list[Scene]) -> None:
    rng = [np.random.default_rng(5) for _ in range(3)]
    for scene in scenes:
        whole, *styled = (draw(scene, each, style) for each, style in zip(rng, (plain, *STYLES.values()), strict=True))
        blank = whole[0, 0]
        for picture in styled:
            kept = (picture == whole).all(axis=2)
            emptied = (picture == blank).all(axis=2)
            assert kept.sum() + (emptied & ~kept).sum() > 0.9 * kept.size


def test_a_blank_picture_has_no_style() -> None:
    blank = np.full((64, 64, 3), 250, np.uint8)
    assert (inner_share(blank), height_share(blank)) == (0, 1)
