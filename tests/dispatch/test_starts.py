from darkroom.engine.ledger import StartBackoff


def test_pauses_double_up_to_five_minutes_and_end() -> None:
    now = 1000.0
    starts = StartBackoff(lambda: now)
    assert starts.are_allowed
    assert [starts.failed() for _ in range(5)] == [1, 2, 4, 8, 16]
    assert not starts.are_allowed
    now += 16
    assert starts.are_allowed
    assert {starts.failed() for _ in range(5000)} == {32, 64, 128, 256, 300}


def test_a_worker_that_starts_ends_the_pause() -> None:
    starts = StartBackoff(lambda: 1000.0)
    starts.failed()
    starts.forget()
    assert starts.are_allowed
    assert (starts.num_failed, starts.failed()) == (0, 1)
