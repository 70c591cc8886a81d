"""The labelled picture of all cells, opened again: each image lies where its labels say."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from darkroom.reporting.content import Axis
from darkroom.reporting.grid_image import GridBlock, grid_image

AXES = [Axis("guidance_scale", (1.0, 7.5)), Axis("scheduler", ("ddim", "euler")), Axis("num_inference_steps", (5, 20))]
POINTS = list(itertools.product(*(axis.values for axis in AXES)))[:-1]  # one combination has no cell


def colour(place: int) -> np.ndarray:
    return np.full((64, 64, 3), (place * 30, 255 - place * 30, 0), np.uint8)


BLOCK = GridBlock("a red circle " * 40, {point: colour(place) for place, point in enumerate(POINTS)})


def places(data: bytes) -> dict[tuple[int, int, int], tuple[int, int]]:
    """Colour of each image -> the left and upper end of it."""
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    found = {}
    for place in range(len(POINTS)):
        ys, xs = np.nonzero((pixels == colour(place)[0, 0]).all(axis=2))
        assert len(ys) == 64 * 64
        found[POINTS[place]] = (int(xs.min()), int(ys.min()))
    return found


def test_columns_are_the_first_axis_and_rows_the_combinations_of_the_others() -> None:
    found = places(grid_image("A sweep", AXES, POINTS, [BLOCK]))
    by_column = {value: {x for point, (x, _) in found.items() if point[0] == value} for value in (1.0, 7.5)}
    assert [len(xs) for xs in by_column.values()] == [1, 1]
    assert max(by_column[1.0]) < min(by_column[7.5])
    rows = {point[1:]: y for point, (_, y) in found.items()}
    assert sorted(rows, key=rows.__getitem__) == [("ddim", 5), ("ddim", 20), ("euler", 5), ("euler", 20)]
    assert all(rows[point[1:]] == y for point, (_, y) in found.items())


def test_equal_input_gives_equal_bytes_and_the_file_says_what_it_shows() -> None:
    data = grid_image("A sweep", AXES, POINTS, [BLOCK])
    assert data == grid_image("A sweep", AXES, POINTS, [BLOCK])
    about = Image.open(io.BytesIO(data)).text
    assert (about["Title"], about["Description"]) == ("A sweep", BLOCK.prompt)


def test_prompts_are_blocks_below_each_other_and_one_axis_is_a_row() -> None:
    one = Image.open(io.BytesIO(grid_image("t", AXES, POINTS, [BLOCK]))).size
    two = Image.open(io.BytesIO(grid_image("t", AXES, POINTS, [BLOCK, BLOCK]))).size
    assert (two[0], two[1] > 1.8 * one[1]) == (one[0], True)
    row = GridBlock("", {(value,): colour(0) for value in AXES[0].values})
    assert Image.open(io.BytesIO(grid_image("t", AXES[:1], list(row.images), [row]))).height < one[1] - 3 * 64


def test_large_images_of_many_cells_are_made_smaller() -> None:
    axis = Axis("seed", tuple(range(100)))
    large = np.zeros((1024, 512, 3), np.uint8)
    block = GridBlock("x", {(seed,): large for seed in axis.values})
    picture = Image.open(io.BytesIO(grid_image("t", [axis], list(block.images), [block])))
    assert picture.width * picture.height < 50_000_000


@pytest.mark.slow
def test_a_long_setting_leaves_its_row_readable_and_the_picture_small() -> None:
    axes = [AXES[0], Axis("negative_prompt", ("", "blurry, " * 200 + "\n\nugly"))]
    points = list(itertools.product(*(axis.values for axis in axes)))
    picture = Image.open(io.BytesIO(grid_image("t", axes, points, [GridBlock("x", dict.fromkeys(points, colour(0)))])))
    assert picture.width < 600


def test_letters_that_the_font_lacks_are_named_at_the_picture_s_foot() -> None:
    plain = Image.open(io.BytesIO(grid_image("A sweep", AXES, POINTS, [BLOCK])))
    block = GridBlock("一只猫, cafe", BLOCK.images)
    lacking = Image.open(io.BytesIO(grid_image("A sweep", AXES, POINTS, [block])))
    assert (lacking.width, lacking.height > plain.height) == (plain.width, True)
    assert lacking.text["Description"] == block.prompt
    asked = GridBlock("???, cafe", BLOCK.images)
    same = np.asarray(Image.open(io.BytesIO(grid_image("A sweep", AXES, POINTS, [asked]))))
    np.testing.assert_array_equal(np.asarray(lacking)[: plain.height - 20], same[: plain.height - 20])
    assert (np.asarray(lacking)[plain.height - 20 :] < 255).any(), "a line says which letters are not there"
