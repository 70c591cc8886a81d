import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.clip_score import clip_score

COSINES = np.array([0.3, 0.2, -0.1, 0.4])


def test_conventions_differ_in_scale_and_in_what_they_cut() -> None:
    assert clip_score(COSINES, "hessel") == pytest.approx(2.5 * (0.3 + 0.2 + 0 + 0.4) / 4)
    assert clip_score(COSINES, "x100") == pytest.approx(20)
    assert clip_score(COSINES, "mlperf") == pytest.approx(20)


def test_only_mlperf_goes_below_zero() -> None:
    assert [clip_score(-COSINES, name) for name in ("x100", "mlperf")] == pytest.approx([0, -20])
    assert clip_score(-COSINES, "hessel") == pytest.approx(2.5 * 0.1 / 4)


def test_an_unknown_convention_is_refused_with_those_known() -> None:
    with pytest.raises(DarkroomError, match="no convention 'x10'; take one of hessel, x100, mlperf"):
        clip_score(COSINES, "x10")


@pytest.mark.parametrize("cosines", [np.array([]), np.eye(2), np.array([0.1, np.nan]), np.array([31.0])])
def test_what_are_no_cosines_is_refused(cosines: np.ndarray) -> None:
    with pytest.raises(DarkroomError, match="no list of cosines"):
        clip_score(cosines, "x100")
