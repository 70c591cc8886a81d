from darkroom.engine.ledger import Ledger


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
