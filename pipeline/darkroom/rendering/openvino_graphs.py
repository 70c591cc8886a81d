"""Functions of tensors compiled by OpenVINO for this CPU, in float32, and kept in the user's cache.

A function is traced by torch and handed to OpenVINO's frontend; `openvino.convert_model` does the same, and reports its
use to its makers besides. float32 is asked for, since OpenVINO takes fewer bits by itself where a CPU has units for
them. What is kept is as it was written, or is made anew.
"""

import hashlib
import threading
import uuid
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from darkroom.domain.errors import DarkroomError, EndsRun, first_line
from darkroom.domain.identity import digest
from darkroom.domain.machine import cache_folder

_LIBRARIES = ("darkroom", "openvino", "torch", "diffusers")  # that decide how a call is traced and compiled
_LARGEST_KEPT_BYTES = 256 << 20  # of weights: what is taken from the cache holds them twice, and each shape has its own
_LARGEST_DIFFERENCE = 1e-3  # from torch's result, as a share of its largest value: many times what rounding makes
_DIGEST_BYTES = hashlib.sha256().digest_size  # at the beginning of a file
_TRACING = threading.Lock()  # torch's tracer has one state for all threads

Function = Callable[..., torch.Tensor]


class Miscompiled(DarkroomError, EndsRun):
    """OpenVINO does not compute this here."""


class CompiledCall:
    """A function of inputs of fixed shapes."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()

    def __call__(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Of inputs in float32, on the CPU, by their order."""
        self._request.infer([each.contiguous().numpy() for each in inputs], share_inputs=True)
        return torch.from_numpy(self._request.get_output_tensor(0).data.copy())  # the next call writes in its place


@dataclass(frozen=True)
class Compiler:
    """Compiles functions that compute with the same weights, or takes them from the cache."""

    name: str  # of the weights, none of which requires a gradient
    num_bytes: int  # of them
    num_threads: int

    def compiled(self, function: Function, inputs: Sequence[torch.Tensor], how: object) -> CompiledCall:
        """For inputs of these shapes. `how`: what tells functions of the same weights apart. Raises Miscompiled."""
        shapes = [list(each.shape) for each in inputs]
        path = cache_folder("openvino") / f"{digest('openvino', self.name, shapes, how, self._machine)}.bin"
        with suppress(OSError, RuntimeError):  # RuntimeError: OpenVINO does not take what another version wrote
            return CompiledCall(_core().import_model(_read(path), "CPU", self._settings))
        try:
            made = _core().compile_model(_traced(function, inputs), "CPU", self._settings)
            call = CompiledCall(made)
            _check(call, function, inputs)
        except Exception as error:  # OpenVINO and torch's tracer raise what they like
            raise Miscompiled(f"engine.backend=openvino: {first_line(error)}; give engine.backend=torch") from error
        if self.num_bytes <= _LARGEST_KEPT_BYTES:
            with suppress(OSError):  # the next process compiles it again
                _write(path, made.export_model().getvalue())
        return call

    @property
    def _settings(self) -> dict[str, Any]:
        """Not pinned to cores: workers of one machine would share one."""
        return {
            "INFERENCE_PRECISION_HINT": "f32",
            "EXECUTION_MODE_HINT": "ACCURACY",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self.num_threads,
            "ENABLE_CPU_PINNING": False,
        }

    @property
    def _machine(self) -> list[object]:
        """What is compiled depends on: versions, settings and the CPU's instructions."""
        capabilities = sorted(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        cpu = [_core().get_property("CPU", "FULL_DEVICE_NAME"), torch.backends.cpu.get_cpu_capability(), *capabilities]
        return [[version(name) for name in _LIBRARIES], self._settings, cpu]


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


def _traced(function: Function, inputs: Sequence[torch.Tensor]) -> Any:
    """As a model of OpenVINO, which holds the very weights."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with _TRACING, warnings.catch_warnings(action="ignore"), torch.inference_mode(False), torch.no_grad():
        graph = torch.jit.trace(function, tuple(inputs), check_trace=False)
        frontend = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(graph)  # which the frontend holds no reference to
        model = frontend.convert(frontend.load(decoder))
    model.reshape({port: list(each.shape) for port, each in zip(model.inputs, inputs, strict=True)})
    return model


def _check(call: CompiledCall, function: Function, inputs: Sequence[torch.Tensor]) -> None:
    """Raises ValueError where what is compiled is not the function."""
    with torch.no_grad():
        wanted = function(*inputs)
    difference = ((call(inputs) - wanted).abs().max() / wanted.abs().max()).item()
    if not difference <= _LARGEST_DIFFERENCE:
        raise ValueError(f"on this CPU its result differs from torch's by {difference:.1g} of the largest value")


# Files --------------------------------------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    """Raises OSError where there is none, or it is not as it was written."""
    data = path.read_bytes()
    if hashlib.sha256(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
        raise OSError(f"{path} is damaged")
    return data[_DIGEST_BYTES:]


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{uuid.uuid4().hex}")
    try:
        unfinished.write_bytes(hashlib.sha256(data).digest() + data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
