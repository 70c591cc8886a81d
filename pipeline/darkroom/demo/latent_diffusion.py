"""The generator: a small AutoencoderKL that turns 64x64 pixels into 16x16 latents of 4 channels and back, and a small
UNet2DConditionModel trained on velocities (Salimans and Ho 2022) of the latents' noise."""

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel

from darkroom.demo.encoders import WIDTH
from darkroom.demo.training_loop import LossOf, Phase, Report, World, train_steps

LATENT_SIZE = 16
LATENT_CHANNELS = 4
_KL_WEIGHT = 5e-4  # for each latent value


def make_autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 48, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=1.0,
    )


def train_autoencoder(
    autoencoder: AutoencoderKL, world: World, phase: Phase, seed: int, folder: Path, report: Report
) -> None:
    """Train to give pictures back, then set the scaling factor so that latents have unit variance."""

    def loss_of(generator: torch.Generator) -> torch.Tensor:
        images = world.images(torch.randint(len(world.scenes), (phase.batch_size,), generator=generator))
        with torch.autocast("cpu", torch.bfloat16):
            latents = autoencoder.encode(images).latent_dist
            noise = torch.randn(latents.mean.shape, generator=generator)
            decoded = autoencoder.decode(latents.mean + latents.std * noise).sample.float()
        return _difference(decoded, images) + _KL_WEIGHT * latents.kl().mean() / latents.mean[0].numel()

    train_steps(phase, autoencoder, loss_of, seed, folder, report)
    autoencoder.register_to_config(scaling_factor=_scale(autoencoder, world))
    report(f"{phase.name}: PSNR {_psnr(autoencoder, world.images(torch.arange(min(256, len(world.scenes))))):.1f} dB")


@torch.no_grad()
def encode_world(autoencoder: AutoencoderKL, world: World) -> torch.Tensor:
    """(N, 4, 16, 16) float32 latents of unit variance."""
    parts = []
    for index in torch.arange(len(world.scenes)).split(256):
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(autoencoder.encode(world.images(index)).latent_dist.mean.float())
    return torch.cat(parts) * autoencoder.config.scaling_factor


def _difference(decoded: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Absolute, squared and gradient error; the last one keeps edges sharp."""
    error = decoded - images
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return error.abs().mean() + error.square().mean() + edges


def _scale(autoencoder: AutoencoderKL, world: World) -> float:
    with torch.no_grad():
        return 1 / float(
            autoencoder.encode(world.images(torch.arange(min(512, len(world.scenes))))).latent_dist.mean.std()
        )


@torch.no_grad()
def _psnr(autoencoder: AutoencoderKL, images: torch.Tensor) -> float:
    decoded = autoencoder(images).sample.clamp(-1, 1)
    return float(10 * torch.log10(4 / (decoded - images).square().mean()))


_DROPPED_CAPTIONS = 0.1  # what teaches the model to do without, as guidance needs
_MIDDLE_TIMESTEPS = 0.6  # share drawn logit-normally, the rest evenly
_CENTRE = -0.4  # of those, as a logit: timestep 401, where shapes are decided
# Stable Diffusion's 0.012 leaves so much of such plain pictures in the last timesteps that a denoiser reads from them
# which object lies where, and never learns to read it in the caption.
_BETA_END = 0.024


def make_denoiser() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(48, 112),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def make_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=_BETA_END,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )


def train_denoiser(
    denoiser: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    no_caption: torch.Tensor,
    world: World,
    latents: torch.Tensor,
    phase: Phase,
    seed: int,
    folder: Path,
    report: Report,
    on_checkpoint: Callable[[int], None] | None = None,
) -> None:
    """Train the denoiser alone; `no_caption` is the (32,) tokens of the empty caption.

    The text encoder stays as its warm-up left it: trained along, it forgets what lies where before the denoiser has
    learned to ask for it. Nothing is compiled: under bfloat16 autocast on a CPU, torch 2.13 gives a compiled UNet's
    down blocks gradients of zero, and says nothing.
    """
    loss_of = denoising_loss(denoiser, text_encoder, no_caption, world, latents, phase.batch_size)
    train_steps(phase, denoiser, loss_of, seed, folder, report, on_checkpoint)


def denoising_loss(
    denoiser: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    no_caption: torch.Tensor,
    world: World,
    latents: torch.Tensor,
    batch_size: int,
) -> LossOf:
    """Mean squared error of the velocities of random latents, captions and timesteps."""
    scheduler = make_scheduler()

    def loss_of(generator: torch.Generator) -> torch.Tensor:
        index = torch.randint(len(latents), (batch_size,), generator=generator)
        noise = torch.randn(batch_size, *latents.shape[1:], generator=generator)
        timesteps = _timesteps(batch_size, generator)
        tokens = _captions(world.tokens[index], no_caption, generator)
        noisy = scheduler.add_noise(latents[index], noise, timesteps)
        velocity = scheduler.get_velocity(latents[index], noise, timesteps)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                states = text_encoder(tokens).last_hidden_state
            predicted = denoiser(noisy, timesteps, states).sample
        return nn.functional.mse_loss(predicted.float(), velocity)

    return loss_of


def _timesteps(count: int, generator: torch.Generator) -> torch.Tensor:
    middle = torch.sigmoid(torch.randn(count, generator=generator) + _CENTRE)
    anywhere = torch.rand(count, generator=generator)
    is_middle = torch.rand(count, generator=generator) < _MIDDLE_TIMESTEPS
    return (torch.where(is_middle, middle, anywhere) * 1000).long().clamp(max=999)


def _captions(tokens: torch.Tensor, no_caption: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One wording of each scene, or none; tokens (N, wordings, 32)."""
    wording = torch.randint(tokens.shape[1], (len(tokens),), generator=generator)
    dropped = torch.rand(len(tokens), generator=generator) < _DROPPED_CAPTIONS
    return torch.where(dropped[:, None], no_caption, tokens[torch.arange(len(tokens)), wording])
