"""Graphs of ComfyUI: what the first node that samples was given, followed back to texts, sizes and seeds.

A graph is what ComfyUI's images hold as `prompt`, and what its interface exports for programs: nodes by their ids, each
a class with inputs, which are values or links [id of a node, number of its output].
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Graph = Mapping[str, Mapping[str, Any]]

_SAMPLERS = ("KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced")
# An input of a sampler -> the links that lead to it where another node has it.
_THROUGH = {
    "seed": ("noise",),
    "noise_seed": ("noise",),
    "steps": ("sigmas",),
    "scheduler": ("sigmas",),
    "denoise": ("sigmas",),
    "start_at_step": (),
    "sampler_name": ("sampler",),
    "cfg": ("guider",),
    "positive": ("guider",),
    "negative": ("guider",),
    "conditioning": ("guider",),
}
_WHOLE = {"denoise": 1, "start_at_step": 0}  # of a sampler that begins with noise alone
_TEXTS = ("text", "t5xxl", "text_g", "prompt")  # inputs of a text's encoder, of which several hold one text
_OTHER_TEXTS = ("text_l", "clip_l")  # of a second encoder, which may be given a text of its own
_PRIMITIVES = ("value", "text", "string", "seed", "noise_seed", "int", "float")  # of nodes that give a value
_JOINS = ("ConditioningCombine", "ConditioningConcat", "ConditioningAverage")
_MODELS = ("ckpt_name", "unet_name")
_OF_FLOW = ("FluxGuidance", "ModelSamplingFlux", "ModelSamplingSD3", "ModelSamplingAuraFlow", "EmptySD3LatentImage")
_SHAPING = ("ControlNet", "IPAdapter", "Lora", "Upscale", "unCLIP", "StyleModel", "FreeU", "PerturbedAttention")
_DEEPEST = 100  # links from a sampler to a text


class NoPicture(ValueError):
    """The text is why a graph makes no picture of a text alone."""


@dataclass(frozen=True)
class Sampled:
    """What the graph's first sampler was given; None: the graph does not say."""

    prompt: str
    negative_prompt: str | None
    seed: Any
    steps: Any
    guidance: Any
    sampler: Any
    schedule: Any
    width: Any
    height: Any
    clip_layer: Any  # the last of the text encoder's, counted from the end: -1 is all
    is_flow: bool
    model: str | None
    unread: tuple[str, ...]  # classes of nodes, and names of inputs, that shape the picture besides


def is_graph(value: object) -> bool:
    return isinstance(value, dict) and any(isinstance(node, dict) and "class_type" in node for node in value.values())


def read_graph(value: Mapping[str, Any]) -> Sampled:
    """Raises NoPicture for a graph without a sampler, without a text, or of another image."""
    graph = {name: node for name, node in value.items() if isinstance(node, dict) and "class_type" in node}
    samplers = [name for name, node in graph.items() if node["class_type"] in _SAMPLERS]
    if not samplers:
        raise NoPicture(f"its graph has none of {', '.join(_SAMPLERS)}")
    first = next((name for name in samplers if _empty_latent(graph, name) is not None), None)
    if first is None:
        raise NoPicture("its graph begins with another image, which the file does not hold")
    latent = _empty_latent(graph, first) or {}
    given = {name: _given(graph, first, name) for name in _THROUGH}
    prompt = _text(graph, given["positive"] or given["conditioning"])
    others = [node["class_type"] for name, node in graph.items() if _is_besides(name, node, first)]
    others += [name for name, whole in _WHOLE.items() if _value(graph, given[name]) not in (None, whole)]
    others += [name for node in graph.values() for name in _OTHER_TEXTS if _differs(graph, _inputs(node), name)]
    return Sampled(
        prompt,
        _text(graph, given["negative"]) if given["negative"] is not None else None,
        _value(graph, given["seed"] if given["seed"] is not None else given["noise_seed"]),
        _value(graph, given["steps"]),
        _value(graph, _input(graph, "FluxGuidance", "guidance") or given["cfg"]),
        _value(graph, given["sampler_name"]),
        _value(graph, given["scheduler"]),
        _value(graph, latent.get("width")),
        _value(graph, latent.get("height")),
        _value(graph, _input(graph, "CLIPSetLastLayer", "stop_at_clip_layer")),
        any(node["class_type"] in _OF_FLOW for node in graph.values()),
        next(
            (str(inputs[name]) for inputs in map(_inputs, graph.values()) for name in _MODELS if name in inputs), None
        ),
        tuple(dict.fromkeys(others)),
    )


def _inputs(node: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _linked(graph: Graph, value: object) -> str | None:
    """The node that an input is linked to."""
    return str(value[0]) if isinstance(value, list) and len(value) == 2 and str(value[0]) in graph else None


def _given(graph: Graph, sampler: str, name: str) -> Any:
    """An input of a sampler, or of the node that the sampler has it from."""
    inputs = _inputs(graph[sampler])
    if name in inputs:
        return inputs[name]
    nodes = (_linked(graph, inputs.get(through)) for through in _THROUGH[name])
    return next((_inputs(graph[node])[name] for node in nodes if node and name in _inputs(graph[node])), None)


def _value(graph: Graph, value: Any, depth: int = 0) -> Any:
    """A value, or what the node gives that it is linked to; None where that is not known."""
    node = _linked(graph, value)
    if node is None:
        return None if isinstance(value, list | dict) else value
    inputs = _inputs(graph[node])
    name = next((name for name in _PRIMITIVES if name in inputs), None)
    return _value(graph, inputs[name], depth + 1) if name and depth < _DEEPEST else None


def _text(graph: Graph, value: Any, depth: int = 0) -> str:
    """The text behind what a sampler is steered by. Raises NoPicture where it is not one text that the graph holds."""
    node = _linked(graph, value)
    if node is None or depth > _DEEPEST:
        raise NoPicture("its graph's prompt is linked to nothing that holds a text")
    kind, inputs = graph[node]["class_type"], _inputs(graph[node])
    if kind in _JOINS:
        raise NoPicture(f"its graph's prompt is joined of several by {kind}")
    if kind == "ConditioningZeroOut":
        return ""
    texts = {text for name in _TEXTS if isinstance(text := _value(graph, inputs.get(name)), str) and text}
    if len(texts) > 1:
        raise NoPicture(f"its {kind} has several texts")
    if texts or any(name in inputs for name in _TEXTS):
        if not texts and all(_value(graph, inputs.get(name)) is None for name in _TEXTS):
            raise NoPicture(f"its {kind} has its text from a node that is not known")
        return next(iter(texts), "")
    through = [name for name in ("conditioning", _branch(value)) if name in inputs]
    if not through:
        raise NoPicture(f"its graph's prompt is made by {kind}, which is not known")
    return _text(graph, inputs[through[0]], depth + 1)


def _differs(graph: Graph, inputs: Mapping[str, Any], name: str) -> bool:
    """Whether a second encoder is given another text than the one that is read."""
    text = _value(graph, inputs.get(name))
    return bool(text) and text not in [_value(graph, inputs.get(each)) for each in _TEXTS]


def _branch(link: Any) -> str:
    """Nodes that pass on two conditions have the positive one first."""
    return "negative" if link[1] == 1 else "positive"


def _empty_latent(graph: Graph, sampler: str) -> Mapping[str, Any] | None:
    """The inputs of the node that gives a sampler latents without an image in them; None: it has others."""
    node: str | None = sampler
    for _ in range(_DEEPEST):
        inputs = _inputs(graph[node]) if node else {}
        node = _linked(graph, inputs.get("latent_image", inputs.get("samples")))
        if node is None:
            return None
        kind, inputs = graph[node]["class_type"], _inputs(graph[node])
        if kind in _SAMPLERS:
            return None
        if "Empty" in kind or {"width", "height", "batch_size"} <= inputs.keys():
            return inputs
    return None


def _is_besides(name: str, node: Mapping[str, Any], first: str) -> bool:
    kind = str(node["class_type"])
    return (name != first and kind in _SAMPLERS) or any(part in kind for part in _SHAPING)


def _input(graph: Graph, kind: str, name: str) -> Any:
    return next((_inputs(node).get(name) for node in graph.values() if node["class_type"] == kind), None)


# The interface's own files -------------------------------------------------------------------------------------------

# Values of ComfyUI's own nodes in the order in which its interface keeps them; "": what it alone knows.
_WIDGETS = {
    "KSampler": ("seed", "", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "CLIPTextEncode": ("text",),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "EmptySD3LatentImage": ("width", "height", "batch_size"),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name",),
    "FluxGuidance": ("guidance",),
    "CLIPSetLastLayer": ("stop_at_clip_layer",),
}


def graph_of_workflow(workflow: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The graph of a file that the interface saves, which knows values by position: of nodes whose order is known."""
    ends = {str(link[0]): [str(link[1]), link[2]] for link in workflow.get("links") or () if isinstance(link, list)}
    return {str(node["id"]): dict(_node(node, ends)) for node in workflow["nodes"] if isinstance(node, dict)}


def _node(node: Mapping[str, Any], ends: Mapping[str, list[Any]]) -> Iterator[tuple[str, Any]]:
    kind, values = str(node.get("type")), node.get("widgets_values") or ()
    known = zip(_WIDGETS.get(kind, ()), values, strict=False) if isinstance(values, list) else ()
    inputs = {name: value for name, value in known if name}
    for each in node.get("inputs") or ():
        if each.get("link") is not None and str(each["link"]) in ends:
            inputs[each["name"]] = ends[str(each["link"])]
    yield "class_type", kind
    yield "inputs", inputs
