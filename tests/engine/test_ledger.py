from darkroom.engine.ledger import Ledger, StartBackoff


def test_a_failing_task_is_given_up_after_its_attempts() -> None:
    ledger = Ledger(iter(["a"]), max_attempts=2)
    first = ledger.take()
    assert not ledger.failed(first, "x")
    again = ledger.take()
    assert again.number == 2
    assert ledger.failed(again, "y")
    assert ledger.is_empty


def test_who_had_company_in_death_is_not_charged_but_runs_alone() -> None:
    ledger = Ledger(iter(["a", "b"]), max_attempts=1)
    held = [ledger.take(), ledger.take()]
    assert ledger.died(held, "boom") == []
    assert ledger.take() is None
    poison, innocent = ledger.take_suspect(), ledger.take_suspect()
    assert poison.alone
    assert ledger.died([poison], "boom") == [poison]
    assert innocent.charged == 0


def test_a_preempted_node_charges_nobody() -> None:
    ledger = Ledger(iter(["a"]), max_attempts=1)
    for _ in range(5):
        assert ledger.died([ledger.take()], "preempted", charge=False) == []
    assert not ledger.has_suspects


def test_no_more_is_read_than_is_asked_for() -> None:
    read: list[int] = []
    ledger = Ledger((read.append(number) or number for number in range(100)), max_attempts=1)
    assert not ledger.is_empty
    ledger.take()
    assert read == [0]


def test_pauses_double_up_to_five_minutes_and_end() -> None:
    now = 1000.0
    backoff = StartBackoff(lambda: now)
    assert backoff.allows_start
    assert [backoff.failed() for _ in range(5)] == [1, 2, 4, 8, 16]
    assert not backoff.allows_start
    now += 16
    assert backoff.allows_start
    assert {backoff.failed() for _ in range(5000)} == {32, 64, 128, 256, 300}


def test_a_worker_that_backoff_ends_the_pause() -> None:
    backoff = StartBackoff(lambda: 1000.0)
    backoff.failed()
    backoff.reset()
    assert backoff.allows_start
    assert (backoff.num_failed, backoff.failed()) == (0, 1)
