"""Runs a network over any number of items in one fixed batch shape, so that a row depends on its item alone.

Short batches are padded and the padding thrown away. A CPU works in one thread, since another number moves low bits; a
GPU works in full float32 and with kernels that give the same bits each time. Knows no network.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch

Item = TypeVar("Item")


@torch.inference_mode()
def in_batches(
    items: Sequence[Item], batch_size: int, width: int, call: Callable[[list[Item]], torch.Tensor]
) -> np.ndarray:
    """(N, width) float32: `call` makes (batch_size, width) of exactly batch_size items; N may be 0."""
    parts = [np.empty((0, width), np.float32)]
    with _repeatable():
        for start in range(0, len(items), batch_size):
            batch = list(items[start : start + batch_size])
            rows = call(batch + batch[-1:] * (batch_size - len(batch)))
            parts.append(rows[: len(batch)].float().cpu().numpy())
    return np.concatenate(parts)


@contextmanager
def _repeatable() -> Iterator[None]:
    """Set around each call and not once, since torch keeps the number for each calling thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(before)
