import threading
import time

import pytest

from darkroom.domain.progress import OFF, STAGES, Profile


def test_a_span_measures_what_is_inside_and_how_long_it_lay_ready() -> None:
    profile = Profile()
    with profile.span("put", ready_s=time.time() - 5):
        time.sleep(0.02)
    [span] = profile.taken()
    assert span.busy_s >= 0.02
    assert span.waiting_s == pytest.approx(5, abs=1)
    assert (span.stage, span.thread) == ("put", threading.current_thread().name)
    assert profile.taken() == ()


def test_work_that_fails_is_measured_too() -> None:
    profile = Profile()
    with pytest.raises(KeyError), profile.span("render"):
        raise KeyError
    assert [span.stage for span in profile.taken()] == ["render"]


def test_nothing_is_kept_when_it_is_off() -> None:
    with OFF.span("put"):
        pass
    assert OFF.taken() == ()


def test_spans_of_many_threads_are_all_there() -> None:
    profile = Profile()

    def work() -> None:
        for _ in range(200):
            with profile.span("encode"):
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(profile.taken()) == 1600


def test_every_stage_fits_its_column() -> None:
    assert max(map(len, STAGES)) < 12
