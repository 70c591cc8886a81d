"""One batch shape and one thread, whatever is asked for."""

import numpy as np
import pytest
import torch

from darkroom.evaluation.networks import in_batches


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7])
def test_every_call_gets_a_whole_batch_on_one_thread(count: int) -> None:
    seen: list[tuple[int, int, bool]] = []

    def call(items: list[int]) -> torch.Tensor:
        seen.append((len(items), torch.get_num_threads(), torch.backends.cudnn.allow_tf32))
        return torch.tensor(items)[:, None] * torch.tensor([1, 10])

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        rows = in_batches(range(count), 3, 2, call)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [(3, 1, False)] * -(-count // 3)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.arange(count)[:, None] * [1, 10])


def test_threads_are_given_back_after_a_failure() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError):
            in_batches([1], 1, 1, lambda items: torch.tensor(items[0] / 0))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
