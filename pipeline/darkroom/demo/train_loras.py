"""Makes the embedded LoRAs from nothing: each turns the embedded model to one style of drawing."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import nn

from darkroom.demo.latent_diffusion import denoising_loss, encode_world
from darkroom.demo.styles import STYLES
from darkroom.demo.training_loop import Phase, Report, halve_weights, make_world, tokenize, train_steps

# Convolutions too: attention sees half of the latents' resolution, and an outline takes all of it.
_LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "conv_in", "conv_out")


@dataclass(frozen=True)
class LoraSettings:
    """How each LoRA is trained; the defaults made the committed ones, on one thread."""

    seed: int = 0
    num_threads: int = 1  # of the CPU; another number moves low bits
    num_scenes: int = 600  # pictures drawn in the style
    rank: int = 6
    lora: Phase = field(default_factory=lambda: Phase("lora", 200, 24, 4e-3, 0.95, warm_up=5, checkpoint_every=20))


def train_loras(
    settings: LoraSettings, model: Path, folder: Path, report: Report, styles: Sequence[str] = tuple(STYLES)
) -> None:
    """Train a LoRA of the model, a folder, for each style: `<style>.safetensors`, and checkpoints in `work`."""
    torch.set_num_threads(settings.num_threads)
    for name in styles:
        _train_lora(settings, name, model, folder, report)


def _train_lora(settings: LoraSettings, name: str, model: Path, folder: Path, report: Report) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(model)
    work, seed, phase = folder / "work", settings.seed, replace(settings.lora, name=f"{name}_{settings.lora.name}")
    work.mkdir(parents=True, exist_ok=True)
    world = make_world(seed, settings.num_scenes, held_out=False, tokenizer=pipe.tokenizer, style=STYLES[name])
    latents, layers = encode_world(pipe.vae, world), _add_lora(pipe.unet, settings)
    no_caption = tokenize(pipe.tokenizer, [""])[0]
    loss_of = denoising_loss(pipe.unet, pipe.text_encoder, no_caption, world, latents, phase.batch_size)
    train_steps(phase, layers, loss_of, seed, work, report)
    save_lora(pipe.unet, folder / f"{name}.safetensors")
    report(f"{folder / name}.safetensors")


def _add_lora(unet: Any, settings: LoraSettings) -> nn.ParameterList:
    """The weights of a new LoRA, the only ones of the denoiser that are trained."""
    torch.manual_seed(settings.seed)
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=settings.rank, lora_alpha=settings.rank, target_modules=list(_LAYERS)))
    return nn.ParameterList(weight for weight in unet.parameters() if weight.requires_grad)


def save_lora(unet: Any, file: Path) -> None:
    """Save in float16."""
    part = file.parent / f"{file.stem}.part"
    layers = get_peft_model_state_dict(unet)
    StableDiffusionPipeline.save_lora_weights(str(part), unet_lora_layers=layers, weight_name=file.name)
    halve_weights(part)
    (part / file.name).replace(file)
    part.rmdir()
