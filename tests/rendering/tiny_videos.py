"""Tiny models of families of pipelines that make videos: real architectures with random weights, a maker a name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from tests.rendering.tiny_families import decoder, flow, t5, tokenizer
from tests.rendering.tiny_models import WIDTH, tiny_text_config


def wan() -> Any:
    return diffusers.WanPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5(),
        vae=diffusers.AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
        transformer=diffusers.WanTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            text_dim=WIDTH,
            freq_dim=32,
            ffn_dim=WIDTH,
            num_layers=1,
            rope_max_seq_len=32,
        ),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )


def ltx() -> Any:
    sizes = (8, 8, 8, 8)
    return diffusers.LTXPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5(),
        vae=diffusers.AutoencoderKLLTXVideo(
            latent_channels=8,
            block_out_channels=sizes,
            decoder_block_out_channels=sizes,
            layers_per_block=(1,) * 5,
            decoder_layers_per_block=(1,) * 5,
        ),
        transformer=diffusers.LTXVideoTransformer3DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=4,
            attention_head_dim=8,
            cross_attention_dim=32,
            num_layers=1,
            caption_channels=WIDTH,
        ),
        scheduler=flow(),
    )


def cogvideox() -> Any:
    return diffusers.CogVideoXPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5(),
        vae=diffusers.AutoencoderKLCogVideoX(
            block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2
        ),
        transformer=diffusers.CogVideoXTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=4,
            out_channels=4,
            time_embed_dim=2,
            text_embed_dim=WIDTH,
            num_layers=1,
            sample_width=4,
            sample_height=4,
            sample_frames=9,
            use_rotary_positional_embeddings=True,
        ),
        scheduler=diffusers.CogVideoXDDIMScheduler(),
    )


def hunyuan_video() -> Any:
    return diffusers.HunyuanVideoPipeline(
        text_encoder=transformers.LlamaModel(transformers.LlamaConfig(**decoder(3))),
        tokenizer=tokenizer(),
        text_encoder_2=transformers.CLIPTextModel(tiny_text_config(77)),
        tokenizer_2=tokenizer(77),
        vae=diffusers.AutoencoderKLHunyuanVideo(
            latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
        ),
        transformer=diffusers.HunyuanVideoTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=10,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            text_embed_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            rope_axes_dim=(2, 4, 4),
        ),
        scheduler=flow(shift=7.0),
    )


# Name -> what makes its pipeline.
VIDEOS: Mapping[str, Callable[[], Any]] = {
    "wan": wan,
    "ltx": ltx,
    "cogvideox": cogvideox,
    "hunyuan_video": hunyuan_video,
}


def tiny_video(name: str, folder: Path) -> Path:
    torch.manual_seed(0)
    VIDEOS[name]().save_pretrained(folder)
    return folder
