"""What a machine is seen to have; and what an interrupt or a fork would tear apart is done by another thread."""

import multiprocessing
import signal
import subprocess
import sys
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from darkroom.domain import process
from darkroom.domain.errors import DarkroomError
from darkroom.domain.process import import_whole, off_main_thread

_IMPORTING = """
import signal, sys, threading, time
import darkroom

signal.signal(signal.SIGINT, signal.default_int_handler)

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "diffusers", "openvino") and "." in name:
            if threading.current_thread() is threading.main_thread():
                print(name)

def interrupt(after_s, interrupted):
    time.sleep(after_s)
    while not interrupted.is_set():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        interrupted.wait(20)  # Python drops one that comes inside of a callback of its garbage collector's

sys.meta_path.insert(0, Finder())
for after_s in map(float, sys.argv[1:]):
    interrupted = threading.Event()
    try:
        threading.Thread(target=interrupt, args=(after_s, interrupted)).start()
        while True:
            darkroom.plan(["a cat"], model="demo", num_inference_steps=1)
            time.sleep(0.01)
    except KeyboardInterrupt:
        interrupted.set()
print(darkroom.plan(["a cat"], model="demo", num_inference_steps=1).num_images)
"""


_STARTING = """
import threading
from darkroom.domain.process import off_main_thread

start = threading.Thread.start

def interrupted(thread):
    start(thread)
    threading.Thread.start = start
    raise KeyboardInterrupt

threading.Thread.start = interrupted
try:
    off_main_thread(int)("7")
except KeyboardInterrupt:
    print(off_main_thread(int)("8"))
"""


def test_what_compiling_lacks_is_named_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "find_spec", lambda _: None)
    assert process.lacks_for_compiling() == "the package triton"
    monkeypatch.setattr(process, "find_spec", lambda name: name)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert process.lacks_for_compiling() == "a C compiler"
    (tmp_path / "gcc").write_text("#!/bin/sh")
    (tmp_path / "gcc").chmod(0o755)
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert process.lacks_for_compiling() == "Python's headers (python3-dev)"
    (tmp_path / "Python.h").write_text("")
    assert process.lacks_for_compiling() == ""


@pytest.mark.slow
def test_a_call_after_interrupts_at_any_time_does_all_of_it_and_the_main_thread_imports_nothing_to_tear() -> None:
    """As in a notebook, where the process lives on: half an import of torch or half a call of it would stay."""
    words = [sys.executable, "-c", _IMPORTING, "0.1", "0.6", "0.8", "1.5"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


@pytest.mark.slow
def test_a_process_ends_though_an_interrupt_came_while_the_thread_was_started() -> None:
    done = subprocess.run([sys.executable, "-c", _STARTING], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "8\n"


_LOCKED = """
import _imp, sys
from darkroom.domain.process import import_whole

_imp.acquire_lock()  # as an interrupt leaves it that comes before importlib's next line
import_whole("wave")
print("wave" in sys.modules, _imp.lock_held())
"""


@pytest.mark.slow
def test_an_interrupt_that_leaves_the_lock_of_imports_stops_no_other_thread() -> None:
    done = subprocess.run([sys.executable, "-c", _LOCKED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True False\n"


def test_the_main_thread_has_another_one_call_and_others_call_themselves() -> None:
    call = off_main_thread(threading.get_ident)
    first, second = call(), call()
    assert first == second != threading.get_ident()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(call).result() == pool.submit(threading.get_ident).result()


def test_what_is_raised_comes_out() -> None:
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        import_whole("nowhere")


def test_an_interrupt_comes_out_at_once_and_the_call_ends_by_itself() -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(60)
        ended.set()

    def interrupt() -> None:
        begun.wait(60)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            off_main_thread(work)()
    finally:
        signal.signal(signal.SIGINT, before)
    assert not ended.is_set()
    go_on.set()
    assert ended.wait(60)


def _in_child(answers: multiprocessing.Queue) -> None:
    try:
        answers.put(off_main_thread(int)("7"))
    except DarkroomError as error:
        answers.put(str(error))


def _forked_off() -> object:
    processes = multiprocessing.get_context("fork")
    answers = processes.Queue()
    child = processes.Process(target=_in_child, args=(answers,))
    child.start()
    try:
        return answers.get(timeout=60)
    finally:
        child.kill()


def test_a_process_that_is_forked_off_such_a_call_is_refused_one_and_any_other_makes_it() -> None:
    off_main_thread(int)()  # there is a thread, which the child has not
    assert _forked_off() == 7
    begun, go_on = threading.Event(), threading.Event()

    @off_main_thread
    def work() -> None:
        begun.set()
        go_on.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait(60)
    try:
        assert "start processes by spawn" in str(_forked_off())
    finally:
        go_on.set()
        thread.join()
    assert _forked_off() == 7
