"""Load a model: alone in the process, from the files that it was named by, and detached from them afterwards.

transformers and diffusers import their parts when they are first asked for, and `from_pretrained` patches torch's
classes and its default dtype until it is done. A thread that loads meanwhile finds half a module; one that renders
makes parameters without data. So loading is alone in the process, and calls of loaded models run beside each other.

The process that starts a job digests a model's files; the one that loads it, later or on another machine, compares
them and refuses files that differ or that change while it reads. What stays mapped from a file is copied after loading,
since it would change when the file is overwritten.
"""

import platform
import threading
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from darkroom.domain.errors import WrongModel
from darkroom.domain.process import off_main_thread
from darkroom.rendering.model_files import Digests, State, file_digest, is_digest_fast, state

P = ParamSpec("P")
T = TypeVar("T")
Found = TypeVar("Found")
Loaded = TypeVar("Loaded")
_NUM_THREADS = 4
_MAPS = Path("/proc/self/maps")


class _Access:
    """One loading thread, or any number of calling ones; who waits to load goes before calls that have not begun."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._loader: int | None = None  # thread that loads
        self._depth = 0  # of its calls in each other
        self._num_waiting = 0  # to load
        self._calling = Counter[int]()  # threads that call, each with the depth of its calls

    def begin_loading(self) -> None:
        with self._changed:
            if self._loader != threading.get_ident():
                self._num_waiting += 1
                try:
                    self._changed.wait_for(lambda: self._loader is None and not self._calling)
                finally:
                    self._num_waiting -= 1
                self._loader = threading.get_ident()
            self._depth += 1

    def end_loading(self) -> None:
        with self._changed:
            self._depth -= 1
            if not self._depth:
                self._loader = None
                self._changed.notify_all()

    def begin_calling(self) -> None:
        with self._changed:
            thread = threading.get_ident()
            if self._loader != thread and thread not in self._calling:
                self._changed.wait_for(lambda: self._loader is None and not self._num_waiting)
            self._calling[thread] += 1

    def end_calling(self) -> None:
        with self._changed:
            self._calling -= Counter([threading.get_ident()])  # leaves out what comes to nothing
            self._changed.notify_all()


_ACCESS = _Access()


def loads_models(load: Callable[P, T]) -> Callable[P, T]:
    """Mark what imports transformers or diffusers, or loads a model by them: alone in the process while it runs.

    One may call another; none may be called from what `calls_models` marks.
    """

    @off_main_thread
    @wraps(load)
    def alone(*args: P.args, **kwargs: P.kwargs) -> T:
        _ACCESS.begin_loading()
        try:
            return load(*args, **kwargs)
        finally:
            _ACCESS.end_loading()

    return alone


def calls_models(call: Callable[P, T]) -> Callable[P, T]:
    """Mark a call of a loaded model: not while another thread loads. One may call another."""

    @off_main_thread
    @wraps(call)
    def beside_others(*args: P.args, **kwargs: P.kwargs) -> T:
        _ACCESS.begin_calling()
        try:
            return call(*args, **kwargs)
        finally:
            _ACCESS.end_calling()

    return beside_others


@contextmanager
def repeatable() -> Iterator[None]:
    """One thread on a CPU, since another number moves low bits; the same kernels each time on a GPU.

    Set around each call and not once, since torch keeps the number for each calling thread.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class LocalFiles:
    """A model's files on this machine, and what they must be."""

    label: str  # the model in messages, such as "model.repo_id=sd15"
    folder: Path
    expected: Digests
    find: Callable[[], Iterable[str]]  # names of the files that shape what it makes, as they are now


def proved(files: LocalFiles, load: Callable[[], Loaded]) -> Loaded:
    """Return what `load` makes of the files. Raises WrongModel where they differ, or change while it reads.

    Small files, code among them, and files of known digest are compared before anything is loaded; large ones are
    digested while it loads.
    """
    before = _states(files)
    large = [name for name in before if not _read(files, name, partial(is_digest_fast, kind=_kind(files, name)))]
    _compare(files, (name for name in before if name not in large))
    _check_unchanged(files, before)
    with ThreadPoolExecutor(_NUM_THREADS, "prove") as pool:
        compared = [pool.submit(_compare, files, [name]) for name in large]
        try:
            loaded = load()
        finally:  # wrong files are a better message than the library's error about them
            for future in compared:
                future.result()
            _check_unchanged(files, before)
    return loaded


def detach_from_files(modules: Iterable[Any]) -> None:
    """Copy the CPU parameters and buffers of torch modules that lie in a mapped file; all where no map is known."""
    starts, stops = _mapped_ranges()
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            if _has_address(tensor) and _lies_in(tensor.data_ptr(), starts, stops):
                tensor.data = tensor.data.clone()


def _has_address(tensor: Any) -> bool:
    """Not on a device, and none that holds others, which quantization has made anew."""
    return tensor.device.type == "cpu" and not hasattr(tensor, "__tensor_flatten__")


def _states(files: LocalFiles) -> dict[str, State]:
    return {name: _read(files, name, state) for name in files.expected}


def _compare(files: LocalFiles, names: Iterable[str]) -> None:
    for name in names:
        wanted = files.expected[name]
        found = _read(files, name, partial(file_digest, kind=_kind(files, name)))
        if found != wanted:
            raise _wrong(files, name, f"is {_short(found)} and not {_short(wanted)}")


def _check_unchanged(files: LocalFiles, before: Mapping[str, State]) -> None:
    """Names are found after small files were compared, since those say which files belong to the model."""
    for name in sorted(set(files.find()) - files.expected.keys()):
        raise _wrong(files, name, "is one file more")
    for name, now in _states(files).items():
        if now != before[name]:
            raise _wrong(files, name, "was changed while it was loaded")


def _read(files: LocalFiles, name: str, read: Callable[[Path], Found]) -> Found:
    try:
        return read(files.folder / name)
    except OSError as error:
        how = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise _wrong(files, name, how) from None


def _kind(files: LocalFiles, name: str) -> str:
    return files.expected[name].partition(":")[0]


def _short(digest: str) -> str:
    kind, _, value = digest.partition(":")
    return f"{kind}:{value[:12]}"


def _wrong(files: LocalFiles, name: str, how: str) -> WrongModel:
    return WrongModel(
        f"{files.label}: on {platform.node()}, {name} in {files.folder} {how}: not what this job was started with; "
        "copy the model there anew"
    )


def _mapped_ranges() -> tuple[list[int], list[int]]:
    """First and last addresses of this process's mapped files, ascending."""
    if not _MAPS.exists():
        return [0], [1 << 64]
    lines = [line.split(maxsplit=5) for line in _MAPS.read_text("utf-8", "replace").splitlines()]
    ranges = [line[0].split("-") for line in lines if len(line) == 6 and line[5].startswith("/")]
    return [int(start, 16) for start, _ in ranges], [int(stop, 16) for _, stop in ranges]


def _lies_in(address: int, starts: list[int], stops: list[int]) -> bool:
    place = bisect(starts, address) - 1
    return place >= 0 and address < stops[place]
