"""Tiny models of real architectures with random weights, saved in the standard layout."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from darkroom.demo.encoders import MAX_TOKENS, make_tokenizer
from darkroom.demo.latent_diffusion import make_scheduler

WIDTH = 32


def tiny_sd(folder: Path, vae_blocks: int = 2, **unet: object) -> Path:
    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline(
        vae=tiny_vae(4, vae_blocks),
        text_encoder=CLIPTextModel(tiny_text_config()),
        tokenizer=make_tokenizer(),
        unet=tiny_unet(WIDTH, **unet),
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def tiny_sdxl(folder: Path) -> Path:
    torch.manual_seed(0)
    pipeline = StableDiffusionXLPipeline(
        vae=tiny_vae(4),
        text_encoder=CLIPTextModel(tiny_text_config()),
        text_encoder_2=CLIPTextModelWithProjection(tiny_text_config()),
        tokenizer=make_tokenizer(),
        tokenizer_2=make_tokenizer(),
        unet=tiny_unet(
            2 * WIDTH,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + WIDTH,
        ),
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1),
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def tiny_controlnet(folder: Path, model: Path) -> Path:
    """Of a model's UNet, with weights that do something where a new one's are zero."""
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    made = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16))
    torch.manual_seed(2)
    for layer in (*made.controlnet_down_blocks, made.controlnet_mid_block, made.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(layer.weight, std=0.2)
    made.save_pretrained(folder)
    return folder


def tiny_refiner(folder: Path) -> Path:
    """A model that goes on from `tiny_sdxl`'s, as SDXL's refiner: of one text encoder, told how pleasing to be."""
    torch.manual_seed(1)
    pipeline = StableDiffusionXLImg2ImgPipeline(
        vae=tiny_vae(4),
        text_encoder=None,
        text_encoder_2=CLIPTextModelWithProjection(tiny_text_config()),
        tokenizer=None,
        tokenizer_2=make_tokenizer(),
        unet=tiny_unet(
            WIDTH,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=5 * 8 + WIDTH,
        ),
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1),
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def tiny_sd3(folder: Path, channels: int = 4) -> Path:
    torch.manual_seed(0)
    pipeline = StableDiffusion3Pipeline(
        vae=tiny_vae(channels, shift_factor=0.06),
        text_encoder=CLIPTextModelWithProjection(tiny_text_config()),
        text_encoder_2=CLIPTextModelWithProjection(tiny_text_config()),
        text_encoder_3=None,
        tokenizer=make_tokenizer(),
        tokenizer_2=make_tokenizer(),
        tokenizer_3=None,
        transformer=SD3Transformer2DModel(
            sample_size=8,
            patch_size=1,
            in_channels=channels,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=2 * WIDTH,
            pooled_projection_dim=2 * WIDTH,
            out_channels=channels,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )
    pipeline.save_pretrained(folder)
    return folder


def tiny_flux(folder: Path) -> Path:
    """Rounds heights and widths down to multiples of 16."""
    torch.manual_seed(0)
    t5 = T5Config(vocab_size=len(make_tokenizer()), d_model=WIDTH, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=4)
    pipeline = FluxPipeline(
        vae=tiny_vae(4, num_blocks=4, shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=CLIPTextModel(tiny_text_config()),
        text_encoder_2=T5EncoderModel(t5),
        tokenizer=make_tokenizer(),
        tokenizer_2=make_tokenizer(),
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=False,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )
    pipeline.save_pretrained(folder)
    return folder


def tiny_text_config(max_tokens: int = MAX_TOKENS) -> CLIPTextConfig:
    tokenizer = make_tokenizer()
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=max_tokens,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def tiny_vae(latent_channels: int, num_blocks: int = 2, **options: float) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16, 16, 16)[:num_blocks],
        down_block_types=("DownEncoderBlock2D",) * num_blocks,
        up_block_types=("UpDecoderBlock2D",) * num_blocks,
        latent_channels=latent_channels,
        norm_num_groups=4,
        sample_size=16,
        **options,
    )


def tiny_unet(cross_attention_dim: int, **options: object) -> UNet2DConditionModel:
    small = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (8, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "cross_attention_dim": cross_attention_dim,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**{**small, **options})


def tiny_lcm(folder: Path) -> Path:
    """A latent consistency model: its guidance scale is an input of the UNet, as of LCM_Dreamshaper_v7."""
    return with_scheduler(tiny_sd(folder, time_cond_proj_dim=16), "LCMScheduler")


def with_scheduler(model: Path, class_name: str) -> Path:
    """The same folder, saved with another scheduler, as what was distilled for it."""
    for path in (model / "scheduler" / "scheduler_config.json", model / "model_index.json"):
        found = json.loads(path.read_text())
        change = {"scheduler": ["diffusers", class_name]} if "scheduler" in found else {"_class_name": class_name}
        path.write_text(json.dumps({**found, **change}))
    return model


def hub_copy(path: Path, repo_id: str, hub: Path, variant: str | None = None) -> None:
    """A model's or a LoRA's folder in a hub's cache at `hub`, as if it had been downloaded from there."""
    commit = "0" * 40
    repo = hub / f"models--{repo_id.replace('/', '--')}"
    snapshot = Path(shutil.copytree(path, repo / "snapshots" / commit, dirs_exist_ok=True))
    (repo / "refs").mkdir(exist_ok=True)
    (repo / "refs" / "main").write_text(commit)
    for file in snapshot.rglob("*.safetensors") if variant else ():
        file.rename(file.with_suffix(f".{variant}.safetensors"))
