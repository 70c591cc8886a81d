from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from darkroom.domain.cells import Cell, ModelIdentity
from darkroom.domain.identity import digest, image_seed
from darkroom.domain.requests import PromptRow, samples
from darkroom.domain.settings import Sampling

MODEL = ModelIdentity("m", "sha256:1", "float32", "StableDiffusionPipeline")
SAMPLING = Sampling("ddim", 5.0, 20, 64, 64)
CELL = Cell(MODEL, SAMPLING)


def test_digests_are_what_they_were() -> None:
    """Written down, so that a change which would orphan everybody's runs cannot go by unseen."""
    assert digest("seed", 0, "a") == "47e686f0a57369e3434047173cdf57fc"
    assert image_seed(0, "a", 0) == 3209370622036680407
    assert CELL.cell_id == "6e79fa1b223ab37a"


def test_a_setting_that_came_later_names_other_cells_only_where_it_does_something() -> None:
    same = replace(CELL, sampling=replace(SAMPLING, guidance_start=0.0, guidance_stop=1.0, cache_interval=1))
    other = replace(CELL, sampling=replace(SAMPLING, guidance_stop=0.5))
    assert same.cell_id == CELL.cell_id != other.cell_id


def test_a_cell_knows_what_it_trades_for_speed_and_the_same_without() -> None:
    assert (CELL.lossy, CELL.lossless) == ({}, ())
    fast = replace(CELL, sampling=replace(SAMPLING, guidance_stop=0.5, cache_interval=3))
    assert fast.lossy == {"guidance_stop": 0.5, "cache_interval": 3}
    assert fast.lossless == (CELL,)
    coarse = replace(fast, model=replace(MODEL, dtype="float8"))
    assert coarse.lossy == {"guidance_stop": 0.5, "cache_interval": 3, "dtype": "float8"}
    assert [cell.model.dtype for cell in coarse.lossless] == ["bfloat16", "float16", "float32"]
    assert coarse.lossless[2] == CELL


@given(st.text(), st.text(), st.integers(0, 2**63 - 1))
def test_parts_do_not_run_into_each_other(left: str, right: str, seed: int) -> None:
    assert (digest(left, right) == digest(left + right, "")) == (right == "")
    assert 0 <= image_seed(seed, left, 3) < 2**63


def test_a_rows_own_seed_is_used_as_it_stands() -> None:
    assert [image_seed(9, "a", index, 42) for index in range(3)] == [42, 43, 44]


def test_a_cell_is_named_by_all_that_shapes_pixels_and_nothing_else() -> None:
    changes = {"scheduler": "euler", "guidance_scale": 6.0, "num_inference_steps": 21, "height": 72, "width": 72}
    others = [Cell(MODEL, replace(SAMPLING, **{name: value})) for name, value in changes.items()]
    others += [Cell(MODEL, replace(SAMPLING, negative_prompt="x")), Cell(replace(MODEL, revision="2"), SAMPLING)]
    others += [Cell(replace(MODEL, dtype="float16"), SAMPLING)]
    assert len({cell.cell_id for cell in (CELL, *others)}) == len(others) + 1
    assert Cell(replace(MODEL, repo_id="moved elsewhere"), SAMPLING).cell_id == CELL.cell_id


def test_a_rows_values_win_over_the_cells() -> None:
    given = {"negative_prompt": "bad", "seed": 7, "guidance_scale": 3.0, "num_inference_steps": 9, "height": 32}
    given |= {"width": 40, "num_images_per_prompt": 2}
    row = PromptRow(0, "id", "p", tuple(given.items()))
    made = list(samples(row, CELL, run_seed=0, num_images_per_prompt=5))
    assert [sample.request.seed for sample in made] == [7, 8]
    assert made[0].request.sampling == Sampling("ddim", 3.0, 9, 32, 40, "bad")


def test_cells_share_seeds_but_not_names() -> None:
    row, other = PromptRow(0, "id", "p"), Cell(MODEL, replace(SAMPLING, guidance_scale=9.0))
    first, second = (next(samples(row, cell, 0, 1)).request for cell in (CELL, other))
    assert first.seed == second.seed
    assert first.image_id != second.image_id


def test_neither_row_number_nor_neighbours_change_an_image() -> None:
    here, there = PromptRow(0, "id", "p"), PromptRow(99, "id", "p")
    assert [s.request for s in samples(here, CELL, 0, 3)] == [s.request for s in samples(there, CELL, 0, 3)]
