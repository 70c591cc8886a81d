"""The retrier on a clock of its own: pauses, their growth, and the end."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from darkroom.storage.retry import Retrier, RetryPolicy


@dataclass
class _Clock:
    now_s: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def sleep(self, pause_s: float) -> None:
        self.now_s += pause_s
        self.pauses.append(pause_s)


def _retrier(clock: _Clock, policy: RetryPolicy) -> Retrier:
    def is_transient(error: Exception) -> bool:
        return isinstance(error, TimeoutError)

    return Retrier(is_transient, policy, clock.sleep, lambda: clock.now_s, uniform=lambda _, high: high)


def _failing(times: int, error: Exception) -> Callable[[], str]:
    left = iter(range(times))

    def call() -> str:
        if next(left, None) is not None:
            raise error
        return "done"

    return call


def test_pauses_double_up_to_the_longest() -> None:
    clock = _Clock()
    retrier = _retrier(clock, RetryPolicy(deadline_s=100, first_pause_s=1, longest_pause_s=5))
    assert retrier.call(_failing(5, TimeoutError())) == "done"
    assert clock.pauses == [1, 2, 4, 5, 5]
    assert retrier.num_retries == 5


def test_no_pause_reaches_past_the_deadline() -> None:
    clock = _Clock()
    with pytest.raises(TimeoutError):
        _retrier(clock, RetryPolicy(deadline_s=6.5, first_pause_s=1)).call(_failing(99, TimeoutError()))
    assert clock.pauses == [1, 2]


def test_what_does_not_pass_is_raised_at_once() -> None:
    clock = _Clock()
    with pytest.raises(KeyError):
        _retrier(clock, RetryPolicy()).call(_failing(1, KeyError()))
    assert clock.pauses == []
