"""Splits by prompt."""

from collections import Counter

from darkroom.exporting.dataset import split_of

SPLITS = {"train": 0.8, "validation": 0.15, "test": 0.05}
PROMPTS = [f"a red circle, number {number}" for number in range(20_000)]


def test_shares_are_kept_and_a_prompt_stays_where_it_is() -> None:
    found = [split_of(prompt, SPLITS) for prompt in PROMPTS]
    counts = Counter(found)
    for name, share in SPLITS.items():
        assert abs(counts[name] / len(PROMPTS) - share) < 0.01
    assert found == [split_of(prompt, dict(reversed(SPLITS.items()))) for prompt in PROMPTS]
    assert split_of("a red circle", SPLITS) == "train"  # of its text alone, in every version
    assert split_of("a red circle", {"train": 1.0}) == "train"
