"""A UNet2DConditionModel whose calls are computed by OpenVINO, with the work that they share (see unet_reuse.py).

What both branches of guidance share is in the compiled graph, which is given keys and values of the text: they are
computed by torch once for all steps. Pixels stay equal up to the order of sums. Calls under settings that change layers
for a while, such as FreeU and cached features, are torch's own.

Functions are compiled for this CPU, in float32, and kept in the user's cache. A function is traced by torch and handed
to OpenVINO's frontend; `openvino.convert_model` does the same, and reports its use to its makers besides. float32 is
asked for, since OpenVINO takes fewer bits by itself where a CPU has units for them. What is kept is as it was written,
or is made anew.
"""

import hashlib
import threading
import uuid
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

from darkroom.domain.errors import DarkroomError, EndsRun, first_line
from darkroom.domain.identity import digest
from darkroom.domain.process import cache_folder
from darkroom.domain.settings import Sampling
from darkroom.rendering.backends import torch_settings
from darkroom.rendering.unet_reuse import SharedWork, text_layers

_LIBRARIES = ("darkroom", "openvino", "torch", "diffusers")  # that decide how a call is traced and compiled
_LARGEST_KEPT_BYTES = 256 << 20  # of weights: what is taken from the cache holds them twice, and each shape has its own
_LARGEST_DIFFERENCE = 1e-3  # from torch's result, as a share of its largest value: many times what rounding makes
_DIGEST_BYTES = hashlib.sha256().digest_size  # at the beginning of a file
_TRACING = threading.Lock()  # torch's tracer has one state for all threads
# Held in each call of OpenVINO: one that reads a compiled model waits for Python's global lock while it holds one of
# OpenVINO's; another that runs beside it waits the other way round, and both wait for ever.
_CALLING = threading.RLock()

Function = Callable[..., torch.Tensor]
_MOST_HELD_BYTES = 2 << 30  # of compiled calls, each of which has the UNet's weights in layouts of its own ...
_LEAST_HELD = 2  # ... but always those with guidance and without
_OPTIONAL = ("timestep_cond", "text_embeds", "time_ids")  # inputs of some UNets: the last two in added_cond_kwargs

Inputs = dict[str, torch.Tensor]  # of one call, by their names


class Miscompiled(DarkroomError, EndsRun):
    """OpenVINO does not compute this here."""


class CompiledCall:
    """A function of inputs of fixed shapes."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()

    def __call__(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Of inputs in float32, on the CPU, by their order."""
        with _CALLING:
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
        with suppress(OSError, RuntimeError), _CALLING:  # RuntimeError: of what another version of OpenVINO wrote
            return CompiledCall(_core().import_model(_read(path), "CPU", self._settings))
        try:
            traced = _traced(function, inputs)
            with _CALLING:
                made = _core().compile_model(traced, "CPU", self._settings)
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


# A UNet --------------------------------------------------------------------------------------------------------------


class OpenVinoUnet:
    """Takes the place of a UNet's `forward`, inside `during` only."""

    def __init__(self, unet: Any, name: str, num_threads: int) -> None:
        """`name`: of its weights."""
        self._by_torch = unet.requires_grad_(False).forward
        self._shared = SharedWork(unet)
        self._text_layers = text_layers(unet) if unet.encoder_hid_proj is None else []  # else they see another text
        num_bytes = sum(each.nbytes for each in unet.parameters())
        self._compiler = Compiler(name, num_bytes, num_threads)
        self._most_held = max(_LEAST_HELD, _MOST_HELD_BYTES // num_bytes)
        self._calls: OrderedDict[object, CompiledCall] = OrderedDict()  # by inputs' shapes, least recently used first
        self._num_images = 0
        unet.forward = self._forward

    @contextmanager
    def during(self, sampling: Sampling, num_images: int) -> Iterator[None]:
        """Inside, calls are computed by OpenVINO, unless a setting changes layers for them."""
        self._num_images = 0 if torch_settings(sampling) else num_images
        try:
            with self._shared.during(num_images):
                yield
        finally:
            self._num_images = 0

    def _forward(self, sample: torch.Tensor, timestep: Any, encoder_hidden_states: torch.Tensor, **given: Any) -> Any:
        inputs = self._inputs(sample, timestep, encoder_hidden_states, given) if self._num_images else None
        if inputs is None:
            return self._by_torch(sample, timestep, encoder_hidden_states, **given)
        found = self._call(inputs)(list(inputs.values()))
        return UNet2DConditionOutput(sample=found) if given.get("return_dict", True) else (found,)

    def _inputs(
        self, sample: torch.Tensor, timestep: Any, text: torch.Tensor, given: Mapping[str, Any]
    ) -> Inputs | None:
        """None of a call that has others, or a time for each row."""
        others = {name: value for name, value in given.items() if value is not None and name != "return_dict"}
        others |= others.pop("added_cond_kwargs", {})
        time = torch.as_tensor(timestep, dtype=torch.float32)
        if others.keys() - {*_OPTIONAL} or time.numel() != 1:
            return None
        inputs = {"sample": sample, "timestep": time.reshape(()), "encoder_hidden_states": text}
        inputs |= {name: others[name].float() for name in _OPTIONAL if name in others}
        return inputs | {f"text {n}": layer.forward(text) for n, layer in enumerate(self._text_layers)}

    def _call(self, inputs: Inputs) -> CompiledCall:
        is_guided = len(inputs["sample"]) == 2 * self._num_images
        key = is_guided, *((name, *value.shape) for name, value in inputs.items())
        if key not in self._calls:
            self._calls[key] = self._compiled(inputs, is_guided)
        self._calls.move_to_end(key)
        while len(self._calls) > self._most_held:
            self._calls.popitem(last=False)
        return self._calls[key]

    def _compiled(self, inputs: Inputs, is_guided: bool) -> CompiledCall:
        """By numbers that say nothing of this call, so that all processes compile and check the same."""
        drawn = {name: _drawn(value, seed) for seed, (name, value) in enumerate(inputs.items())}
        if is_guided:
            drawn["sample"] = drawn["sample"][: self._num_images].repeat(2, 1, 1, 1)
        before = dict(self._shared.projections)
        try:
            return self._compiler.compiled(
                lambda *values: self._answer(dict(zip(inputs, values, strict=True))),
                list(drawn.values()),
                [list(inputs), is_guided],
            )
        finally:
            self._shared.projections.clear()
            self._shared.projections.update(before)

    def _answer(self, inputs: Inputs) -> torch.Tensor:
        """By torch, with the inputs' keys and values of the text."""
        sample, time, text = (inputs.pop(name) for name in ("sample", "timestep", "encoder_hidden_states"))
        added = {name: inputs.pop(name) for name in _OPTIONAL if name in inputs}
        cond = added.pop("timestep_cond", None)
        self._shared.projections.update((number, (text, each)) for number, each in enumerate(inputs.values()))
        found = self._by_torch(
            sample, time, text, timestep_cond=cond, added_cond_kwargs=added or None, return_dict=False
        )
        return found[0]


def _drawn(like: torch.Tensor, seed: int) -> torch.Tensor:
    """Standard normal numbers; as a time, one in the middle."""
    with torch.inference_mode(False):
        if like.ndim == 0:
            return torch.tensor(500.0)
        return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))
