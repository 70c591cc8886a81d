"""The nearest reference image of each image, and the share of copies, against computations by hand."""

from collections import Counter

import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.copies import (
    CellMatches,
    Match,
    cell_matches,
    check_directions,
    closest,
    copies_metric,
    measured_copies,
    nearest,
)
from darkroom.evaluation.moments import unit_rows
from darkroom.runs.features import ImageFeatures, PairedFeatures
from tests.evaluation.sets import CLIP, cell, images

METRIC = copies_metric(CLIP, 0.9, "real", "d")


@pytest.mark.parametrize("tile", [1, 2, 2048])
def test_the_nearest_is_the_one_of_the_greatest_cosine(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.evaluation.moments.TILE_ROWS", tile)
    reference = unit_rows(np.array([[1.0, 0], [0, 1], [-1, 0], [1, 1]]))
    cosines, rows = nearest(np.array([[2.0, 0], [-3, 0.3], [1, 0.9]]), reference)
    assert rows.tolist() == [0, 2, 3]
    np.testing.assert_allclose(cosines, [1, 3 / 9.09**0.5, 1.9 / (1.81 * 2) ** 0.5])


def test_images_of_all_parts_are_matched_each_with_its_own_words() -> None:
    whole = cell(12)
    reference = unit_rows(images(9, 5).features)
    ids = [f"r{number}" for number in range(9)]
    parts = [whole.taken(range(5)), whole.taken([]), whole.taken(range(5, 12))]
    found = cell_matches("a", parts, reference, ids)
    cosines = unit_rows(whole.images.features) @ reference.T
    assert [each.reference_id for each in found.matches] == [ids[row] for row in cosines.argmax(axis=1)]
    assert [each.image_id for each in found.matches] == list(whole.images.image_ids)
    assert found.pairs == whole.pairs


def matches(name: str, cosines: list[float]) -> CellMatches:
    found = [Match(value, name, f"{name}{row}", f"p{row}", f"r{row % 2}") for row, value in enumerate(cosines)]
    return CellMatches(tuple(found), tuple((f"p{row}", 0) for row in range(len(cosines))))


def test_an_image_without_a_direction_is_named() -> None:
    with pytest.raises(DarkroomError, match=r"image b: its features are all zeros, .*take another extractor"):
        check_directions(np.array([[1.0, 0], [0, 0], [0, 0]]), ["a", "b", "c"], "image")
    check_directions(np.zeros((0, 2)), [], "image")


def test_equal_images_are_copies_by_a_cosine_of_one() -> None:
    whole = cell(40)
    found = cell_matches("a", [whole], unit_rows(whole.images.features), whole.images.image_ids)
    figures, _ = measured_copies({"a": found}, METRIC, 1.0, 40, 0)
    assert figures["a"]["demo_clip.copies"].value == 1


def test_the_share_of_copies_has_an_interval_even_where_there_is_none() -> None:
    cells = {"a": matches("a", [0.1] * 30), "b": matches("b", [0.95] * 12 + [0.2] * 18)}
    figures, gaps = measured_copies(cells, METRIC, 0.9, 7, 0)
    none, some = (figures[name]["demo_clip.copies"] for name in "ab")
    assert (none.value, none.low, none.num_images, none.num_reference) == (0, 0, 30, 7)
    assert 0.05 < none.high < 0.2
    assert some.value == 0.4
    assert gaps["b"]["demo_clip.copies"].base == "a"
    assert gaps["b"]["demo_clip.copies"].is_told_apart
    assert not gaps["a"]


def test_cells_of_other_images_have_shares_and_no_gap() -> None:
    figures, gaps = measured_copies({"a": matches("a", [0.1] * 30), "b": matches("b", [0.95] * 12)}, METRIC, 0.9, 7, 0)
    assert figures.keys() == {"a", "b"}
    assert not gaps["a"]
    assert not gaps["b"]


def test_the_nearest_pairs_come_first_and_no_pair_of_prompt_and_image_twice() -> None:
    found = closest([matches("a", [0.3, 0.9, 0.5]), matches("b", [0.4, 0.2, 0.6])], 3)
    assert [(each.image_id, each.cosine) for each in found] == [("a1", 0.9), ("b2", 0.6), ("b0", 0.4)]


def test_images_without_features_are_told_with_the_figure() -> None:
    left = PairedFeatures((), ImageFeatures((), np.zeros((0, 6), np.float32), np.zeros(0), np.zeros(0, bool)))
    part = PairedFeatures(left.pairs, left.images, Counter({"its file is missing": 2}))
    found = cell_matches("a", [cell(30), part], unit_rows(images(9).features), [str(row) for row in range(9)])
    figures, _ = measured_copies({"a": found}, METRIC, 0.9, 9, 0)
    assert any("its file is missing" in line for line in figures["a"]["demo_clip.copies"].warnings)
