"""What is chosen while images go by is what a look at all of them would choose, in whatever order they come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.domain.identity import Shard, digest
from darkroom.reporting.sampling import Extremes, ImageRef, PromptChoice, Subsample, middle

SHARD = Shard("cell", 0, 4, "shard")
IMAGES = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(-1, 1)), min_size=1, max_size=40).map(
    lambda pairs: [
        ImageRef(f"{place:032x}", prompt, 0, SHARD, place, score) for place, (prompt, score) in enumerate(pairs)
    ]
)


@pytest.mark.slow
@given(IMAGES, st.integers(1, 5))
def test_prompts_are_those_with_the_lowest_digests_with_all_of_their_images(images: list[ImageRef], count: int) -> None:
    choice = PromptChoice(count, 1)
    for image in images:
        choice.add(image)
    ranked = sorted({image.prompt_id for image in images}, key=lambda name: digest("report", name, length=16))
    assert sorted(choice.images(), key=lambda image: image.index) == [
        image for image in images if image.prompt_id in ranked[:count]
    ]


def test_a_prompt_shows_only_so_many_of_its_images() -> None:
    choice = PromptChoice(1, 2)
    for index in range(5):
        choice.add(ImageRef(f"{index:032x}", "a", index, SHARD, index))
    assert [image.sample_index for image in choice.images()] == [0, 1]


@pytest.mark.slow
@given(IMAGES, st.integers(1, 5), st.sampled_from([1, -1]))
def test_extremes_are_each_prompts_best_image_best_first(images: list[ImageRef], count: int, sign: int) -> None:
    extremes = Extremes(count, sign)
    for image in images:
        extremes.add(image)
    merits = [max(sign * image.score for image in images if image.prompt_id == name) for name in "abcdefgh" if
              any(image.prompt_id == name for image in images)]  # fmt: skip
    found = extremes.images()
    assert [sign * image.score for image in found] == sorted(merits, reverse=True)[:count]
    assert len({image.prompt_id for image in found}) == len(found)


@pytest.mark.slow
@given(IMAGES, st.integers(1, 50), st.randoms(use_true_random=False))
def test_a_subsample_depends_on_ids_alone(images: list[ImageRef], count: int, random) -> None:
    shuffled = random.sample(images, len(images))
    sample = Subsample(count)
    for image in shuffled:
        sample.add(image)
    assert sample.images == images[:count]
    assert sample.num_seen == len(images)


def test_the_middle_is_around_the_median_highest_first() -> None:
    images = [
        ImageRef(f"{place:032x}", f"p{place}", 0, SHARD, place, score) for place, score in enumerate([9, 1, 4, 5, 0])
    ]
    assert [image.score for image in middle(images, 3)] == [5, 4, 1]
    assert middle([], 3) == []


def test_of_equal_scores_those_of_the_lowest_ids_are_shown_whatever_their_order() -> None:
    images = [ImageRef(f"{place:032x}", f"p{place}", 0, SHARD, place, 1.0) for place in range(9)]
    extremes = Extremes(3, -1)
    for image in images[::-1]:
        extremes.add(image)
    assert extremes.images() == images[:3]
