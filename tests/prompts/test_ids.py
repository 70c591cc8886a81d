"""Names of rows: by what they say, told apart where they say the same, never shared."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.domain.errors import DarkroomError
from darkroom.prompts import ids as naming
from darkroom.prompts.opening import open_prompts
from tests.prompts.reading import ids, opened, rows


def test_the_name_of_a_row_stays() -> None:
    """A change here renders every unnamed prompt of every user anew."""
    assert ids("a red cube") == [naming.row_digest("a red cube", {})] == ["fab24277e663bfc5e7d82c90cc629af9"]


def test_order_and_extra_columns_do_not_count_and_settings_do() -> None:
    assert ids("a", "b") == ids("b", "a")[::-1]
    assert ids("a", tag=["x"]) == ids("a")
    assert ids("a", seed=[None]) == ids("a")
    assert len({*ids("a"), *ids("a", seed=[1]), *ids("a", seed=[2]), *ids("a", height=[8]), *ids("a", width=[8])}) == 5


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([None, 1, 2])), min_size=1, max_size=12))
def test_repeats_are_told_apart_by_their_occurrence(said: list[tuple[str, int | None]]) -> None:
    found = ids(*(prompt for prompt, _ in said), seed=pa.array([seed for _, seed in said], pa.int64()))
    for row, (prompt, seed) in enumerate(said):
        overrides = {} if seed is None else {"seed": seed}
        assert found[row] == naming.row_digest(prompt, overrides, said[:row].count((prompt, seed)))


def test_repeats_are_found_across_files_and_from_any_start(tmp_path: Path) -> None:
    opened(tmp_path / "a.parquet", {"prompt": ["a", "b"]})
    opened(tmp_path / "b.parquet", {"prompt": ["b", "a"], "seed": pa.array([None, 3], pa.int64())})
    dataset = open_prompts(str(tmp_path))
    assert dataset.scan(1).num_repeats == 1
    assert rows(dataset, 2)[0].prompt_id == naming.row_digest("b", {}, 1)


def test_ids_are_data() -> None:
    names = ["../../etc/passwd", "a\nb", "\u202e", "x" * 10_000, "0"]
    assert ids(*"abcde", prompt_id=names) == names
    assert ids("a", "b", prompt_id=[7, 8]) == ["7", "8"]
    assert ids("a", "b", prompt_id=["", None]) == ids("a", "b")


def test_a_given_id_may_not_be_what_another_row_is_called() -> None:
    plain, second = naming.row_digest("a", {}), naming.row_digest("a", {}, 1)
    for given_id, prompts in ((plain, ["z", "a", "c"]), (second, ["z", "a", "a"])):
        table = pa.table({"prompt": prompts, "prompt_id": [given_id, None, None]})
        with pytest.raises(DarkroomError, match="duplicate row, first at row 0"):
            open_prompts(table, name="table").scan(1)
    assert len(set(ids("a", "a", "a", prompt_id=["x", None, None]))) == 3
