"""What cells and images are called, written down: another name would orphan the images of everybody's runs."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.domain.identity import Cell, ModelIdentity, digest, image_seed
from darkroom.domain.settings import Sampling

MODEL = ModelIdentity("some/model", "sha256:abcdef", "float32", "StableDiffusionPipeline")
SAMPLING = Sampling("ddim", 5.0, 20, 64, 64)
WORDED = Sampling("dpmpp_2m_karras", 7.5, 25, 512, 768, "blurry, é")
PLAIN = Cell(MODEL, SAMPLING)
INTERVAL = Cell(MODEL, replace(SAMPLING, guidance_start=0.25, guidance_stop=0.75))
FLOAT8 = Cell(replace(MODEL, dtype="float8", variant="fp16"), SAMPLING)
TRUSTED = Cell(replace(MODEL, revision="0123abcd", trust_remote_code=True), SAMPLING)


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (PLAIN, "04d01ba949dfd3d4"),
        (Cell(MODEL, WORDED), "e45d00213f32ce86"),
        (INTERVAL, "12b777eaee903eea"),
        (Cell(MODEL, replace(SAMPLING, cache_interval=3)), "748795ab60aa9810"),
        (FLOAT8, "f5f86f7ae9661d4d"),
        (TRUSTED, "d12114a568522add"),
    ],
)
def test_cells_are_called_what_they_were(cell: Cell, name: str) -> None:
    assert cell.cell_id == name


def test_the_same_cells_without_a_loss_are_called_what_they_were() -> None:
    assert [cell.cell_id for cell in INTERVAL.lossless] == ["04d01ba949dfd3d4"]
    assert [cell.cell_id for cell in FLOAT8.lossless] == ["3a3e234b47d01581", "c2149c69c82e37b6", "22e084ef2b42e400"]


def test_a_setting_that_came_later_names_other_cells_only_where_it_does_something() -> None:
    same = replace(PLAIN, sampling=replace(SAMPLING, guidance_start=0.0, guidance_stop=1.0, cache_interval=1))
    other = replace(PLAIN, sampling=replace(SAMPLING, guidance_stop=0.5))
    assert same.cell_id == PLAIN.cell_id != other.cell_id


def test_a_cell_knows_what_it_trades_for_speed_and_the_same_without() -> None:
    assert (PLAIN.lossy, PLAIN.lossless) == ({}, ())
    fast = replace(PLAIN, sampling=replace(SAMPLING, guidance_stop=0.5, cache_interval=3))
    assert fast.lossy == {"guidance_stop": 0.5, "cache_interval": 3}
    assert fast.lossless == (PLAIN,)
    coarse = replace(fast, model=replace(MODEL, dtype="float8"))
    assert coarse.lossy == {"guidance_stop": 0.5, "cache_interval": 3, "dtype": "float8"}
    assert [cell.model.dtype for cell in coarse.lossless] == ["bfloat16", "float16", "float32"]
    assert coarse.lossless[2] == PLAIN


def test_a_lossy_setting_of_the_model_names_another_cell_and_leaves_its_name_where_it_does_nothing() -> None:
    tiled, small = (
        replace(PLAIN, model=replace(MODEL, **each)) for each in ({"vae_tiling": True}, {"quantization": "x"})
    )
    assert len({PLAIN.cell_id, tiled.cell_id, small.cell_id}) == 3
    assert (tiled.lossy, small.lossy) == ({"vae_tiling": True}, {"quantization": "x"})
    assert tiled.lossless == small.lossless == (PLAIN,)
    assert tiled.model.numbers == "float32, vae_tiling"


def test_a_cell_is_named_by_all_that_shapes_pixels_and_nothing_else() -> None:
    changes = {"scheduler": "euler", "guidance_scale": 6.0, "num_inference_steps": 21, "height": 72, "width": 72}
    others = [Cell(MODEL, replace(SAMPLING, **{name: value})) for name, value in changes.items()]
    others += [Cell(MODEL, replace(SAMPLING, negative_prompt="x")), Cell(replace(MODEL, revision="2"), SAMPLING)]
    others += [Cell(replace(MODEL, dtype="float16"), SAMPLING)]
    assert len({cell.cell_id for cell in (PLAIN, *others)}) == len(others) + 1
    assert Cell(replace(MODEL, repo_id="moved elsewhere"), SAMPLING).cell_id == PLAIN.cell_id


def test_digests_are_what_they_were() -> None:
    assert digest("seed", 0, "a") == "47e686f0a57369e3434047173cdf57fc"
    assert image_seed(0, "a", 0) == 3209370622036680407
    assert (
        Cell(ModelIdentity("m", "sha256:1", "float32", "StableDiffusionPipeline"), SAMPLING).cell_id
        == "6e79fa1b223ab37a"
    )


@pytest.mark.slow
@given(st.text(), st.text(), st.integers(0, 2**63 - 1))
def test_parts_do_not_run_into_each_other(left: str, right: str, seed: int) -> None:
    assert (digest(left, right) == digest(left + right, "")) == (right == "")
    assert 0 <= image_seed(seed, left, 3) < 2**63


def test_a_rows_own_seed_is_used_as_it_stands() -> None:
    assert [image_seed(9, "a", index, 42) for index in range(3)] == [42, 43, 44]
