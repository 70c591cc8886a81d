"""Prompts past the text encoder's limit are counted, and the count says how many were looked at."""

import pyarrow as pa

from darkroom.prompts.source import LongPrompts, count_long_prompts, table_prompts


def words(prompts: list[str]) -> list[int]:
    return [len(prompt.split()) for prompt in prompts]


def test_long_prompts_are_counted_among_the_first_rows() -> None:
    dataset = table_prompts(pa.table({"prompt": ["a b c", "a", "a b", "a b c d"] * 2}), "table")
    assert count_long_prompts(dataset, words, 2) == LongPrompts(num_checked=8, num_long=4, num_rows=8, limit=2)
    assert count_long_prompts(dataset, words, 2, max_rows=5) == LongPrompts(5, 3, 8, 2)
    assert str(count_long_prompts(dataset, words, 2, max_rows=5)).startswith("3 of the first 5 prompts")
