import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from darkroom.engine.sweep import drawn, rounds, survivors

figures = st.dictionaries(st.text("abcdef0123", min_size=1), st.floats(allow_infinity=False), min_size=1)


@given(st.integers(1, 1000), st.integers(1, 100))
def test_rounds_double_until_all_is_rendered(num_shards: int, first: int) -> None:
    found = rounds(num_shards, first)
    assert found[0] == min(first, num_shards)
    assert found[-1] == num_shards
    assert all(later == min(2 * earlier, num_shards) > earlier for earlier, later in itertools.pairwise(found))


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_larger_draw_holds_the_smaller_one(count: int, more: int) -> None:
    starts = [64 * index for index in range(60)]
    assert drawn("f", starts, min(count, more)) <= drawn("f", starts, max(count, more)) <= set(starts)
    assert len(drawn("f", starts, count)) == count


def test_a_draw_is_no_prefix_of_the_file() -> None:
    starts = list(range(0, 6400, 64))
    assert drawn("f", starts, 10) != set(starts[:10])
    assert drawn("f", starts, 10) != drawn("g", starts, 10)


@given(figures, st.floats(0.05, 0.95), st.booleans())
def test_the_best_go_on_and_at_least_one_does(found: dict[str, float], keep: float, higher: bool) -> None:
    kept = survivors(found, keep, higher)
    assert len(kept) == max(1, math.ceil(keep * len(found)))
    lost = [found[cell] for cell in found if cell not in kept]
    for cell in kept:
        for value in lost:
            if math.isnan(found[cell]):
                assert math.isnan(value)
            elif not math.isnan(value):
                assert found[cell] >= value if higher else found[cell] <= value
