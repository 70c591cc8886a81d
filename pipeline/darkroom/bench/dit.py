"""A small diffusion transformer to measure speed with: Stable Diffusion 3's architecture, random weights.

"Scaling Rectified Flow Transformers for High-Resolution Image Synthesis" (Esser et al. 2024). Its three text encoders
and its decoder are small too, in about the proportions of the published model's cost.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from darkroom.demo.encoders import make_tokenizer

DIT_SIDE = 64  # pixels
_CLIP_WIDTH = 64
_TEXT_WIDTH = 256
_LATENTS = 16  # channels


def dit_model(folder: Path) -> Path:
    """Write it in diffusers' layout, the same one each time; what is there stays."""
    if not folder.exists():
        torch.manual_seed(0)
        _pipeline().save_pretrained(folder)
    return folder


def _pipeline() -> StableDiffusion3Pipeline:
    return StableDiffusion3Pipeline(
        transformer=_transformer(),
        vae=_decoder(),
        text_encoder=_clip(),
        text_encoder_2=_clip(),
        text_encoder_3=_t5(),
        tokenizer=make_tokenizer(),
        tokenizer_2=make_tokenizer(),
        tokenizer_3=make_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def _transformer() -> SD3Transformer2DModel:
    return SD3Transformer2DModel(
        sample_size=DIT_SIDE // 4,
        patch_size=2,
        in_channels=_LATENTS,
        out_channels=_LATENTS,
        num_layers=4,
        attention_head_dim=64,
        num_attention_heads=3,
        caption_projection_dim=192,
        joint_attention_dim=_TEXT_WIDTH,
        pooled_projection_dim=2 * _CLIP_WIDTH,
    )


def _decoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=_LATENTS,
        norm_num_groups=16,
        scaling_factor=1.5305,
        shift_factor=0.0609,
    )


def _clip() -> CLIPTextModelWithProjection:
    tokenizer = make_tokenizer()
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=_CLIP_WIDTH,
            intermediate_size=4 * _CLIP_WIDTH,
            projection_dim=_CLIP_WIDTH,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _t5() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(make_tokenizer()),
            d_model=_TEXT_WIDTH,
            d_kv=64,
            d_ff=2 * _TEXT_WIDTH,
            num_layers=4,
            num_heads=4,
        )
    )
