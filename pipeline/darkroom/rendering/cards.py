"""What the cards of models and LoRAs say that they are used with, as data, by their hub ids.

A card is of that very model: not of a folder that is called like it, and not of a single file in its place. Plain data:
this module needs no torch; `own_settings.py` reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from darkroom.domain.settings import Range


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
