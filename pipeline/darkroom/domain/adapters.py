"""What is added to a model: as a person names it, as it was found, and which of it one image is made with.

LoRAs stay beside the model's own weights and are switched from image to image: "LoRA: Low-Rank Adaptation of Large
Language Models" (Hu et al. 2021).
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace

# Kinds of parts, and the settings that name them.
LORAS, INVERSIONS, VAE, REFINER = "loras", "textual_inversions", "vae", "refiner"
CONTROLNET, GGUF = "controlnet", "gguf"
NO_LORA = "none"  # in the place of a name
JOIN = "+"  # between names

Active = tuple[tuple[str, float], ...]  # (revision, weight) of each LoRA that an image is made with


@dataclass(frozen=True)
class LoraRef:
    """A LoRA as a person names it."""

    path: str  # a .safetensors file, a folder with one, an s3:// address, or a hub id that may go on with a file's name
    weight: float = field(default=1.0, metadata={"low": -10, "high": 10})
    name: str = ""  # that `lora` chooses it by; empty: the name of its file without the ending


@dataclass(frozen=True)
class InversionRef:
    """A textual inversion as a person names it: "An Image is Worth One Word" (Gal et al. 2022)."""

    path: str  # as a LoRA's
    token: str = ""  # the word of prompts that it stands for; empty: the one in its file, or the file's name


@dataclass(frozen=True)
class Part:
    """Something added to a model, as it was found."""

    kind: str  # the setting that names it
    name: str
    revision: str  # "sha256:..." of its file, or of its files' digests
    weight: float = 1.0

    @property
    def facts(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        weight = f":{self.weight:g}" if self.kind == LORAS else ""
        return f"{self.name}{weight} ({self.revision.removeprefix('sha256:')[:12]})"


def parts_used(parts: Iterable[Part], active: Active) -> list[Part]:
    """A model's parts, without the LoRAs that an image is made without; the others with the weights that it has."""
    weights = dict(active)
    used = [part for part in parts if part.kind != LORAS or part.revision in weights]
    return [replace(part, weight=weights.get(part.revision, part.weight)) for part in used]


def names_in(lora: str) -> list[str]:
    """The names that a value of `lora` consists of."""
    return [name.strip() for name in lora.split(JOIN)]


def unknown_loras(loras: Iterable[Part], lora: str) -> list[str]:
    """Names in a value of `lora` that no LoRA of the model has."""
    known = {part.name for part in loras}
    return [] if lora in ("", NO_LORA) else [name for name in names_in(lora) if name not in known]


def active_loras(loras: Iterable[Part], lora: str, lora_weight: float) -> Active:
    """The LoRAs that `lora` chooses, empty for all of the model's, each at its weight times `lora_weight`.

    One of weight 0 does nothing, and is left out.
    """
    chosen = [part for part in loras if lora == "" or (lora != NO_LORA and part.name in names_in(lora))]
    weighted = [(part.revision, part.weight * lora_weight) for part in chosen]
    return tuple((revision, weight) for revision, weight in weighted if weight)


def tagged_loras(loras: Iterable[Part], tags: Sequence[tuple[str, float | None]], lora_weight: float) -> Active:
    """The LoRAs that a prompt names, each at the weight that it says, or its own (None), times `lora_weight`.

    What is named twice has the sum of its weights, as two LoRAs add up.
    """
    weights = {part: [weight for name, weight in tags if name == part.name] for part in loras}
    summed = {part: sum(part.weight if each is None else each for each in said) for part, said in weights.items()}
    return tuple((part.revision, weight * lora_weight) for part, weight in summed.items() if weight * lora_weight)
