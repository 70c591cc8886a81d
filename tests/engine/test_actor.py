"""What the dispatcher asks of an actor."""

import time

from darkroom.engine.actor import Heartbeat


def test_who_answers_is_asked_again_and_who_does_not_owes_from_the_question_on() -> None:
    asked: list[int] = []
    answered: set[int] = set()

    def ask() -> int:
        asked.append(len(asked))
        return asked[-1]

    heartbeat = Heartbeat(ask, answered.__contains__)
    assert heartbeat.silent_s < 0.5
    answered.add(0)
    assert heartbeat.silent_s < 0.5
    time.sleep(0.6)
    assert heartbeat.silent_s > 0.5
    assert asked == [0, 1]
    answered.add(1)
    assert heartbeat.silent_s < 0.5
