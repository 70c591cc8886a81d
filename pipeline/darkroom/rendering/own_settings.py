"""What a model says of its own scheduler, guidance, steps and size: what null stands for, and what it is not made for.

In this order: the card of a LoRA that acts, the model's card, its files where they are sure, its pipeline's signature.

A card is of that very model: not of a folder that is called like it, and not of a single file in its place. Their table
is plain data.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.domain.adapters import Active
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import SETTINGS, Range, Sampling
from darkroom.rendering.family import Guidance
from darkroom.rendering.inspected_model import InspectedModel, call_default
from darkroom.rendering.model_facts import config_of
from darkroom.rendering.schedulers import DEFAULT

_OF_GUIDANCE = ("guidance_rescale", "guidance_start", "guidance_stop")
_OF_CARDS = ("num_inference_steps", "guidance_scale", "scheduler", "eta")  # settings that cards say


@dataclass(frozen=True)
class Card:
    """Settings by their names, None for what the card does not say; and what a few-step model is made for."""

    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    scheduler: str | None = None  # by Darkroom's name; None: the model's own
    made_for: Range | None = None  # of steps; None: as many as one likes
    most_guidance: float | None = None  # the largest scale that it is made for; None: any
    eta: float | None = None  # noise of each step; None: none


def few_steps(
    steps: int,
    made_for: tuple[int, int],
    scheduler: str | None = None,
    guidance_scale: float = 0.0,
    most_guidance: float | None = 1.0,
) -> Card:
    """Of a distilled model, most of which are not guided. `made_for`: fewest and most steps."""
    return Card(steps, guidance_scale, scheduler, Range(*made_for), most_guidance)


_TURBO = few_steps(1, (1, 4))
_LCM = few_steps(4, (1, 8), guidance_scale=8.0, most_guidance=None)  # the scale is an input of its network
_LCM_LORA = few_steps(4, (2, 8), "lcm", guidance_scale=1.0, most_guidance=2.0)
_TCD_LORA = Card(4, 0.0, "tcd", most_guidance=1.0, eta=0.3)  # any number of steps
_SPRINT = Card(2, 4.5, made_for=Range(1, 4))
_EMBEDDED = Card(20, 5.0)  # what the figures of the README and of the demo's own card are made with

_MODELS = {
    "darkroom/demo": _EMBEDDED,
    "darkroom/paint": _EMBEDDED,
    "Alpha-VLLM/Lumina-Image-2.0": Card(50, 4.0),
    "Efficient-Large-Model/Sana_1600M_1024px_diffusers": Card(20, 4.5),
    "Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers": _SPRINT,
    "Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers": _SPRINT,
    "Kwai-Kolors/Kolors-diffusers": Card(50, 5.0),
    "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS": Card(20, 4.5),
    "Qwen/Qwen-Image": Card(50, 4.0),
    "SimianLuo/LCM_Dreamshaper_v7": _LCM,
    "THUDM/CogView4-6B": Card(50, 3.5),
    "Tongyi-MAI/Z-Image-Turbo": few_steps(9, (8, 9), most_guidance=0.0),
    "black-forest-labs/FLUX.1-dev": Card(50, 3.5),
    "black-forest-labs/FLUX.1-schnell": few_steps(4, (1, 4)),
    "fal/AuraFlow-v0.3": Card(50, 3.5),
    "stabilityai/sd-turbo": _TURBO,
    "stabilityai/sdxl-turbo": _TURBO,
    "stabilityai/stable-diffusion-3.5-large": Card(28, 3.5),
    "stabilityai/stable-diffusion-3.5-large-turbo": few_steps(4, (4, 8)),
    "stabilityai/stable-diffusion-3.5-medium": Card(40, 4.5),
}
# Their names are those of the hub, and of a file where a repository has several.
_LORAS = {
    **{f"latent-consistency/lcm-lora-{base}": _LCM_LORA for base in ("sdv1-5", "sdxl", "ssd-1b")},
    **{f"h1t/TCD-{base}-LoRA": _TCD_LORA for base in ("SD15", "SD21-base", "SDXL")},
    **{
        f"ByteDance/SDXL-Lightning/sdxl_lightning_{steps}step_lora.safetensors": few_steps(
            steps, (steps, steps), "euler_trailing"
        )
        for steps in (2, 4, 8)
    },
    **{
        f"ByteDance/Hyper-SD/Hyper-{base}-{steps}steps-lora.safetensors": few_steps(
            steps, (steps, steps), "ddim_trailing"
        )
        for base in ("SD15", "SDXL")
        for steps in (2, 4, 8)
    },
    # The timesteps of its training, 999, 749, 499 and 249, are those of all training steps in four.
    **{
        f"tianweiy/DMD2/dmd2_sdxl_4step_lora{ending}.safetensors": few_steps(4, (4, 4), "lcm_trailing")
        for ending in ("", "_fp16")
    },
}
CARDS: Mapping[str, Card] = {**_MODELS, **_LORAS}


# What a model says ---------------------------------------------------------------------------------------------------


_NOTHING_KNOWN = Card()
TAYLORSEER_FIRST = 3  # diffusers' `disable_cache_before_step`
# Of a folder whose own files say how it was distilled. "guided": the scale is an input of its network.
_SAVED_LCM, _SAVED_LCM_GUIDED = Card(4, 1.0, most_guidance=2.0), Card(4, 8.0)
_SAVED_TCD = Card(4, 0.0, eta=0.3)
_SAVED_UNGUIDED = Card(4)  # which FLUX.2 klein alone is called in its model_index.json


def own_setting(name: str, model: InspectedModel, active: Active) -> Any:
    """The value of a setting that null stands for; None where nothing says one. `active`: LoRAs that act.

    Raises DarkroomError where the cards of two LoRAs disagree.
    """
    cards = lora_cards(model, active)
    said = {lora: value for lora, card in cards.items() if (value := getattr(card, name, None)) is not None}
    if len(set(said.values())) > 1:
        told = ", ".join(f"{value} by {lora}" for lora, value in said.items())
        raise DarkroomError(f"sampling.{name} is {told}; give sampling.{name}=..., or one of these LoRAs alone")
    found = next(iter(said.values()), getattr(model_card(model), name, None))
    if found is not None:
        return found
    if name == "scheduler":
        return DEFAULT
    setting, value = SETTINGS[name], call_default(model, name)
    return setting.neutral if value is None and setting.has_neutral else value


def unfit_settings(sampling: Sampling, model: InspectedModel, active: Active) -> Iterator[str]:
    """What a few-step model is asked for and makes an image of, though it is not made for it."""
    cards = lora_cards(model, active) or {model.identity.repo_id: model_card(model)}
    steps, scale = sampling.num_inference_steps, sampling.guidance_scale
    for name, card in cards.items():
        if card.made_for and steps not in card.made_for:
            yield f"sampling.num_inference_steps={steps}: {name} is made for {_steps_text(card)}"
        if card.most_guidance is not None and scale > max(card.most_guidance, model.family.unguided):
            yield (
                f"sampling.guidance_scale={scale:g}: {name} is distilled, to be used with {card.guidance_scale:g}; "
                "more guidance takes time and may spoil the image"
            )


def unfit_choices(
    sampling: Sampling, model: InspectedModel, active: Active, chosen: Collection[str], rows: Collection[str]
) -> Iterator[str]:
    """LoRAs that rows choose and whose cards say other settings than the cell has: its null is what its own LoRAs say,
    since its id tells what its images were made with. `chosen`: their names; `rows`: as below."""
    every = lora_cards(model, tuple((file.part.revision, 1.0) for file in model.parts))
    for lora in sorted((every.keys() & {*chosen}) - lora_cards(model, active).keys()):
        said = {name: getattr(every[lora], name) for name in _OF_CARDS if name not in rows}
        other = {name: value for name, value in said.items() if value not in (None, getattr(sampling, name))}
        if other:
            has = ", ".join(f"{name}={getattr(sampling, name)}" for name in other)
            wants = ", ".join(f"{name}={value}" for name, value in other.items())
            columns = ", ".join(name for name in other if SETTINGS[name].row)
            columns = f"columns of {columns} say it for rows; " if columns else ""
            yield (
                f"rows that choose {lora} are made with {has}, and it is made for {wants}; {columns}a cell of its own, "
                "by grid.axes.lora or grid.axes.loras, has all that its card says"
            )


def idle_settings(sampling: Sampling, model: InspectedModel, rows: Collection[str]) -> Iterator[str]:
    """Settings of guidance that are given where nothing guides, as few-step models by default. `rows`: names of the
    settings that rows have of their own."""
    if model.family.guidance is not Guidance.BRANCHES or not model.folder or "guidance_scale" in rows:
        return  # others are refused where they are given
    if sampling.guidance_scale <= model.family.unguided:
        given = {"negative_prompt": bool(sampling.negative_prompt)}
        given |= {name: SETTINGS[name].does_something(getattr(sampling, name)) for name in _OF_GUIDANCE}
        said = [f"sampling.{name}" for name, is_given in given.items() if is_given]
        said += [f"column {name}" for name in given if name in rows]
        scale = f"sampling.guidance_scale={sampling.guidance_scale:g}"
        yield from (f"{name} does nothing at {scale}: nothing guides {model.identity.repo_id}" for name in said)


def idle_cache(sampling: Sampling, rows: Collection[str]) -> Iterator[str]:
    """A cache that is used in none of so few steps."""
    steps = sampling.num_inference_steps
    if sampling.cache.startswith("taylorseer") and steps <= TAYLORSEER_FIRST and "num_inference_steps" not in rows:
        yield (
            f"sampling.cache={sampling.cache} does nothing in {steps} steps: the first {TAYLORSEER_FIRST} are always "
            "computed whole"
        )


def model_card(model: InspectedModel) -> Card:
    """Of the model without LoRAs: by its hub id, which a folder does not have, or by its files."""
    return CARDS.get(model.identity.repo_id) or _card_of_files(model)


def lora_cards(model: InspectedModel, active: Active) -> dict[str, Card]:
    """The cards of LoRAs that act, by their names; most have none."""
    revisions = dict(active)
    acting = [file for file in model.parts if file.part.revision in revisions]
    return {file.part.name: CARDS[file.hub_name] for file in acting if file.hub_name in CARDS}


def _card_of_files(model: InspectedModel) -> Card:
    """Of a model that was saved with the scheduler that it was distilled for, or that its index calls distilled."""
    if not model.folder:
        return _NOTHING_KNOWN
    if model.family.unguided_if and model.family.guidance is Guidance.NONE:
        return _SAVED_UNGUIDED
    scheduler = config_of(Path(model.folder) / "scheduler").get("_class_name")
    if scheduler == "LCMScheduler":
        return _SAVED_LCM_GUIDED if model.family.guidance is Guidance.EMBEDDED else _SAVED_LCM
    return _SAVED_TCD if scheduler == "TCDScheduler" else _NOTHING_KNOWN


def _steps_text(card: Card) -> str:
    assert card.made_for
    low, high = int(card.made_for.low), int(card.made_for.high)
    return f"{low} to {high} steps" if low < high else f"{low} step{'s' if low > 1 else ''}"
