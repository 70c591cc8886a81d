"""What every phase of training shares: the world as tensors, and the loop."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTokenizer

from darkroom.demo import world
from darkroom.demo.drawing import draw
from darkroom.demo.styles import Style, plain
from darkroom.demo.world import Scene

# The attributes of a scene: the words each can take. Index 0 of a label means unsaid or absent.
_THING_WORDS: dict[str, tuple[str, ...]] = {
    "size": tuple(world.SIZES),
    "colour": tuple(world.COLOURS),
    "shape": tuple(world.SHAPES),
}
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "background": tuple(world.BACKGROUNDS),
    "relation": tuple(world.RELATIONS),
    **{f"{which} {name}": words for which in ("first", "second") for name, words in _THING_WORDS.items()},
}
# The same objects by where they lie: what a denoiser needs to know, and no caption says in so many words.
PLACES: dict[str, tuple[str, ...]] = {
    f"{place} {name}": words for place in world.RELATIONS for name, words in _THING_WORDS.items()
}
_CAPTIONS = 4  # wordings of each scene: one whole, the others with words left out
_LEFT_OUT = 0.15  # share of the attributes
Report = Callable[[str], None]
LossOf = Callable[[torch.Generator], torch.Tensor]  # everything that it draws is drawn from the generator


@dataclass(frozen=True)
class World:
    """A fixed sample of the world."""

    scenes: Sequence[Scene]
    pixels: torch.Tensor  # (N, 3, 64, 64) uint8
    tokens: torch.Tensor  # (N, 4, 32) int64; the first wording is whole
    labels: torch.Tensor  # (N, attributes) int64, of the whole caption

    def images(self, index: torch.Tensor) -> torch.Tensor:
        """(N, 3, 64, 64) float32 in [-1, 1]."""
        return self.pixels[index].float() / 127.5 - 1


def make_world(seed: int, count: int, held_out: bool, tokenizer: CLIPTokenizer, style: Style = plain) -> World:
    rng = np.random.default_rng(seed + 1)
    scenes = world.scenes(seed, count, held_out, two_objects=0.6)
    pixels = torch.from_numpy(np.stack([draw(scene, rng, style) for scene in scenes])).permute(0, 3, 1, 2)
    wordings = [_wording(scene, rng, index) for scene in scenes for index in range(_CAPTIONS)]
    tokens = tokenize(tokenizer, wordings).reshape(count, _CAPTIONS, -1)
    labels = torch.tensor([attribute_labels(scene) for scene in scenes])
    return World(scenes, pixels.contiguous(), tokens, labels)


def tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> torch.Tensor:
    """(N, 32) int64, padded."""
    options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    return tokenizer(list(captions), max_length=tokenizer.model_max_length, **options).input_ids


def place_labels(scene: Scene) -> list[int]:
    """One for each of `PLACES`, all 0 for a scene of one object."""
    things = [(scene.thing_at(place), name) for place in world.RELATIONS for name in _THING_WORDS]
    words = [getattr(thing, name) if thing else None for thing, name in things]
    return [
        0 if word is None else 1 + choices.index(word) for word, choices in zip(words, PLACES.values(), strict=True)
    ]


def attribute_words(scene: Scene) -> dict[str, str | None]:
    words: dict[str, str | None] = {"background": scene.background, "relation": scene.relation}
    for which, thing in (("first", scene.first), ("second", scene.second)):
        for name in ("size", "colour", "shape"):
            words[f"{which} {name}"] = getattr(thing, name) if thing else None
    return words


def attribute_labels(scene: Scene) -> list[int]:
    words = attribute_words(scene)
    return [0 if words[name] is None else 1 + choices.index(words[name]) for name, choices in ATTRIBUTES.items()]


def _wording(scene: Scene, rng: np.random.Generator, index: int) -> str:
    return (world.with_words_left_out(scene, rng, _LEFT_OUT) if index else scene).caption()


@dataclass(frozen=True)
class Phase:
    """One training phase."""

    name: str
    num_steps: int
    batch_size: int
    learning_rate: float
    average: float = 0.0  # decay of the weights' moving average; 0: none
    warm_up: int = 100  # steps
    checkpoint_every: int = 250  # steps


def train_steps(
    phase: Phase,
    module: nn.Module,
    loss_of: LossOf,
    seed: int,
    folder: Path,
    report: Report,
    on_checkpoint: Callable[[int], None] | None = None,
) -> None:
    """Minimise `loss_of` over the module's parameters; ends with the averaged weights in the module.

    `loss_of` gets a generator seeded for the step, and draws everything from it. `on_checkpoint` is
    called with the step while the module has its averaged weights.
    """
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(module.parameters(), phase.learning_rate, betas=(0.9, 0.99), weight_decay=0.01)
    average = [parameter.detach().clone() for parameter in module.parameters()]
    checkpoint = folder / f"{phase.name}.pt"
    first = _resume(checkpoint, module, optimizer, average)
    started, running = time.monotonic(), 0.0
    for step in range(first, phase.num_steps):
        _set_rate(optimizer, phase, step)
        loss = loss_of(torch.Generator().manual_seed(seed * 1_000_003 + step))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        _follow(average, module, min(phase.average, (1 + step) / (10 + step)) if phase.average else 0.0)
        running = loss.item() if step == first else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % phase.checkpoint_every == 0 or step + 1 == phase.num_steps:
            _save(checkpoint, step + 1, module, optimizer, average)
            report(_line(phase, step + 1, running, (time.monotonic() - started) / (step + 1 - first)))
            if on_checkpoint:
                with _averaged(module, average):
                    on_checkpoint(step + 1)
    _load(module, average)


def _line(phase: Phase, step: int, loss: float, step_s: float) -> str:
    left = (phase.num_steps - step) * step_s / 60
    rate = phase.batch_size / step_s
    return f"{phase.name}: step {step}/{phase.num_steps}, loss {loss:.4f}, {rate:.0f} samples/s, {left:.1f} min left"


def _set_rate(optimizer: torch.optim.Optimizer, phase: Phase, step: int) -> None:
    """Linear warm-up, then half a cosine down to a fiftieth."""
    done = step / phase.num_steps
    rate = phase.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
    for group in optimizer.param_groups:
        group["lr"] = rate * min(1.0, (step + 1) / phase.warm_up)


@torch.no_grad()
def _follow(average: list[torch.Tensor], module: nn.Module, decay: float) -> None:
    for mean, parameter in zip(average, module.parameters(), strict=True):
        mean.lerp_(parameter, 1 - decay)


@torch.no_grad()
def _load(module: nn.Module, weights: list[torch.Tensor]) -> None:
    for parameter, weight in zip(module.parameters(), weights, strict=True):
        parameter.copy_(weight)


class _averaged:
    """The module with its averaged weights, inside."""

    def __init__(self, module: nn.Module, average: list[torch.Tensor]) -> None:
        self._module, self._average = module, average
        self._trained = [parameter.detach().clone() for parameter in module.parameters()]

    def __enter__(self) -> None:
        _load(self._module, self._average)

    def __exit__(self, *_: object) -> None:
        _load(self._module, self._trained)


def _save(
    path: Path, step: int, module: nn.Module, optimizer: torch.optim.Optimizer, average: list[torch.Tensor]
) -> None:
    state = {"step": step, "module": module.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def _resume(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, average: list[torch.Tensor]) -> int:
    """The step to go on from; 0 without a checkpoint."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    for mean, saved in zip(average, state["average"], strict=True):
        mean.copy_(saved)
    return state["step"]


def halve_weights(folder: Path) -> None:
    """Turn every safetensors file below a folder into float16; configurations go on saying float32, to load as that."""
    for weights in folder.rglob("*.safetensors"):
        tensors = {name: tensor.to(torch.float16) for name, tensor in load_file(weights).items()}
        save_file(tensors, weights, metadata={"format": "pt"})
