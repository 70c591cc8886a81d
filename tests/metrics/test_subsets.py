import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.subsets import sample_keys, subset

IDS = [f"image {row}" for row in range(2000)]


def drawn_ids(ids: list[str], draw: int, seed: int = 0, purpose: str = "kid") -> list[str]:
    return [ids[row] for row in subset(sample_keys(ids, len(ids), seed, purpose), draw, 100)]


def test_the_same_images_in_the_same_order_whatever_the_order_of_rows() -> None:
    order = np.random.default_rng(0).permutation(len(IDS))
    assert drawn_ids([IDS[row] for row in order], 3) == drawn_ids(IDS, 3)


def test_it_is_fixed_for_ever() -> None:
    assert drawn_ids(IDS, 0)[:3] == ["image 488", "image 586", "image 622"]


def test_nobody_is_drawn_twice() -> None:
    assert len(set(drawn_ids(IDS, 0))) == 100


def test_draws_seeds_and_purposes_are_independent() -> None:
    first = set(drawn_ids(IDS, 0))
    for other in (drawn_ids(IDS, 1), drawn_ids(IDS, 0, seed=1), drawn_ids(IDS, 0, purpose="kid reference")):
        assert len(first & set(other)) < 20  # 5 expected


def test_every_image_is_drawn_equally_often() -> None:
    keys = sample_keys(IDS, len(IDS), 0, "kid")
    times = np.bincount(np.concatenate([subset(keys, draw, 100) for draw in range(2000)]), minlength=2000)
    assert times.mean() == 100
    assert 0.9 < times.std() / np.sqrt(100 * 0.95) < 1.1  # binomial


def test_an_id_that_stands_twice_is_refused() -> None:
    with pytest.raises(DarkroomError, match="'b' stands there more than once"):
        sample_keys(["a", "b", "b"], 3, 0, "kid")
