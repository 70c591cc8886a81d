"""Makes the embedded model from nothing: caption reader, picture coder, denoiser, and a small CLIP."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPTokenizer

from darkroom.demo.encoders import (
    make_clip,
    make_text_encoder,
    make_tokenizer,
    save_clip,
    train_clip,
    train_clip_words,
    warm_up,
)
from darkroom.demo.latent_diffusion import (
    encode_world,
    make_autoencoder,
    make_denoiser,
    make_scheduler,
    train_autoencoder,
    train_denoiser,
)
from darkroom.demo.training_loop import Phase, Report, World, halve_weights, make_world, tokenize


@dataclass(frozen=True)
class TrainSettings:
    """How the embedded model is trained; the defaults made the committed weights, on one thread."""

    seed: int = 0
    num_threads: int = 1  # of the CPU; another number moves low bits
    num_scenes: int = 40_000  # pictures drawn for training
    text: Phase = field(default_factory=lambda: Phase("text", 600, 256, 1.5e-3))
    autoencoder: Phase = field(default_factory=lambda: Phase("autoencoder", 1400, 24, 2e-3, average=0.99))
    denoiser: Phase = field(default_factory=lambda: Phase("denoiser", 2800, 64, 1.2e-3, average=0.998))
    clip_attributes: Phase = field(default_factory=lambda: Phase("clip_attributes", 1800, 64, 1e-3))
    clip: Phase = field(default_factory=lambda: Phase("clip", 700, 256, 1e-3, average=0.99))
    clip_words: Phase = field(default_factory=lambda: Phase("clip_words", 700, 128, 7e-4, average=0.98))


def train(settings: TrainSettings, folder: Path, report: Report) -> None:
    """Train everything into `folder`: `model` (diffusers), `clip` (transformers) and `work` (checkpoints)."""
    torch.set_num_threads(settings.num_threads)
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    report(f"drawing {settings.num_scenes} scenes")
    world = make_world(settings.seed, settings.num_scenes, held_out=False, tokenizer=tokenizer)
    train_model(settings, tokenizer, world, folder / "model", work, report)
    train_clip_model(settings, tokenizer, world, folder / "clip", work, report)


def train_model(
    settings: TrainSettings, tokenizer: CLIPTokenizer, world: World, folder: Path, work: Path, report: Report
) -> None:
    """Train the diffusion model and save it, also at every checkpoint of the denoiser."""
    seed = settings.seed
    torch.manual_seed(seed)
    text_encoder, autoencoder, denoiser = make_text_encoder(tokenizer), make_autoencoder(), make_denoiser()
    warm_up(text_encoder, tokenizer, settings.text, seed, work, report)
    train_autoencoder(autoencoder, world, settings.autoencoder, seed, work, report)
    latents = encode_world(autoencoder, world)
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=denoiser,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    no_caption = tokenize(tokenizer, [""])[0]
    save = lambda _step: save_pipeline(pipeline, folder)  # noqa: E731
    train_denoiser(denoiser, text_encoder, no_caption, world, latents, settings.denoiser, seed, work, report, save)
    save_pipeline(pipeline, folder)


def train_clip_model(
    settings: TrainSettings, tokenizer: CLIPTokenizer, world: World, folder: Path, work: Path, report: Report
) -> None:
    torch.manual_seed(settings.seed)
    clip = make_clip(tokenizer)
    train_clip(clip, world, settings.clip_attributes, settings.clip, settings.seed, work, report)
    train_clip_words(clip, tokenizer, world, settings.clip_words, settings.seed, work, report)
    save_clip(clip, tokenizer, folder)


def save_pipeline(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Save in float16 safetensors that load in float32; the training's own weights stay as they are."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    pipeline.save_pretrained(part, safe_serialization=True)
    halve_weights(part)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
