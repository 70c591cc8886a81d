"""What the dispatcher asks of an actor."""

import pytest

from darkroom.engine.actor import Heartbeat, StartBackoff


def test_who_answers_is_asked_again_and_who_does_not_owes_from_the_question_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("darkroom.engine.actor.time.monotonic", lambda: now)
    asked: list[int] = []
    answered: set[int] = set()

    def ask() -> int:
        asked.append(len(asked))
        return asked[-1]

    heartbeat = Heartbeat(ask, answered.__contains__)
    assert heartbeat.silent_s == 0
    answered.add(0)
    now += 5
    assert heartbeat.silent_s == 0
    now += 7
    assert heartbeat.silent_s == 7
    assert asked == [0, 1]
    answered.add(1)
    assert heartbeat.silent_s == 0


def test_pauses_double_up_to_five_minutes_and_end() -> None:
    now = 1000.0
    backoff = StartBackoff(lambda: now)
    assert backoff.allows_start
    assert [backoff.failed() for _ in range(5)] == [1, 2, 4, 8, 16]
    assert not backoff.allows_start
    now += 16
    assert backoff.allows_start
    assert {backoff.failed() for _ in range(5000)} == {32, 64, 128, 256, 300}


def test_a_worker_that_starts_ends_the_pause() -> None:
    backoff = StartBackoff(lambda: 1000.0)
    backoff.failed()
    backoff.reset()
    assert backoff.allows_start
    assert (backoff.num_failed, backoff.failed()) == (0, 1)
