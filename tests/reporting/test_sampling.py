"""What is chosen while images go by is what a look at all of them would choose, in whatever order they come."""

from hypothesis import given
from hypothesis import strategies as st

from darkroom.domain.identity import digest
from darkroom.reporting.sampling import Extremes, PromptChoice, Seen, Subsample, middle
from darkroom.runs.keys import ManifestName

NAME = ManifestName("key", "cell", 0, 4, "shard")
SEEN = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(-1, 1)), min_size=1, max_size=40).map(
    lambda pairs: [Seen(f"{place:032x}", prompt, 0, NAME, place, score) for place, (prompt, score) in enumerate(pairs)]
)


@given(SEEN, st.integers(1, 5))
def test_prompts_are_those_with_the_lowest_digests_with_all_of_their_images(images: list[Seen], count: int) -> None:
    choice = PromptChoice(count, 1)
    for seen in images:
        choice.add(seen)
    ranked = sorted({seen.prompt_id for seen in images}, key=lambda name: digest("report", name, length=16))
    assert sorted(choice.images(), key=lambda seen: seen.index) == [
        seen for seen in images if seen.prompt_id in ranked[:count]
    ]


def test_a_prompt_shows_only_so_many_of_its_images() -> None:
    choice = PromptChoice(1, 2)
    for index in range(5):
        choice.add(Seen(f"{index:032x}", "a", index, NAME, index))
    assert [seen.sample_index for seen in choice.images()] == [0, 1]


@given(SEEN, st.integers(1, 5), st.sampled_from([1, -1]))
def test_extremes_are_each_prompts_best_image_best_first(images: list[Seen], count: int, sign: int) -> None:
    extremes = Extremes(count, sign)
    for seen in images:
        extremes.add(seen)
    merits = [max(sign * seen.score for seen in images if seen.prompt_id == name) for name in "abcdefgh" if
              any(seen.prompt_id == name for seen in images)]  # fmt: skip
    found = extremes.images()
    assert [sign * seen.score for seen in found] == sorted(merits, reverse=True)[:count]
    assert len({seen.prompt_id for seen in found}) == len(found)


@given(SEEN, st.integers(1, 50), st.randoms(use_true_random=False))
def test_a_subsample_depends_on_ids_alone(images: list[Seen], count: int, random) -> None:
    shuffled = random.sample(images, len(images))
    sample = Subsample(count)
    for seen in shuffled:
        sample.add(seen)
    assert sample.images == images[:count]
    assert sample.num_seen == len(images)


def test_the_middle_is_around_the_median_highest_first() -> None:
    images = [Seen(f"{place:032x}", f"p{place}", 0, NAME, place, score) for place, score in enumerate([9, 1, 4, 5, 0])]
    assert [seen.score for seen in middle(images, 3)] == [5, 4, 1]
    assert middle([], 3) == []
