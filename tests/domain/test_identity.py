from hypothesis import given
from hypothesis import strategies as st

from darkroom.domain.cells import Cell, ModelIdentity
from darkroom.domain.identity import digest, image_seed
from darkroom.domain.settings import Sampling

MODEL = ModelIdentity("m", "sha256:1", "float32", "StableDiffusionPipeline")
SAMPLING = Sampling("ddim", 5.0, 20, 64, 64)
CELL = Cell(MODEL, SAMPLING)


def test_digests_are_what_they_were() -> None:
    """Written down, so that a change which would orphan everybody's runs cannot go by unseen."""
    assert digest("seed", 0, "a") == "47e686f0a57369e3434047173cdf57fc"
    assert image_seed(0, "a", 0) == 3209370622036680407
    assert CELL.cell_id == "6e79fa1b223ab37a"


@given(st.text(), st.text(), st.integers(0, 2**63 - 1))
def test_parts_do_not_run_into_each_other(left: str, right: str, seed: int) -> None:
    assert (digest(left, right) == digest(left + right, "")) == (right == "")
    assert 0 <= image_seed(seed, left, 3) < 2**63


def test_a_rows_own_seed_is_used_as_it_stands() -> None:
    assert [image_seed(9, "a", index, 42) for index in range(3)] == [42, 43, 44]
