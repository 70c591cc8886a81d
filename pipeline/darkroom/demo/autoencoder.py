"""The picture coder: a small AutoencoderKL that turns 64x64 pixels into 16x16 latents of 4 channels and back."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL

from darkroom.demo.pictures import World
from darkroom.demo.steps import Phase, Report, train_steps

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
