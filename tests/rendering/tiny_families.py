"""Tiny models of more families of pipelines: real architectures with random weights, a maker a name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, AutoencoderKLQwenImage, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.deprecated.wuerstchen import PaellaVQModel

from darkroom.demo.encoders import make_tokenizer
from tests.rendering.tiny_models import WIDTH, tiny_text_config, tiny_vae

CHAT = (
    "{% for message in messages %}{{ message['role'] + ': ' + (message['content'] if message['content'] is string "
    "else message['content'][0]['text']) + ' ' }}{% endfor %}"
)


def tokenizer(limit: int = 512, side: str = "right", chat: bool = False) -> Any:
    made = make_tokenizer()
    made.model_max_length, made.padding_side = limit, side
    if chat:
        made.chat_template = CHAT
    return made


def t5(width: int = WIDTH) -> Any:
    config = transformers.T5Config(
        vocab_size=len(make_tokenizer()), d_model=width, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=4
    )
    return transformers.T5EncoderModel(config)


def decoder(num_layers: int = 2, **more: Any) -> dict[str, Any]:
    """The numbers of a small language model."""
    return {
        "vocab_size": len(make_tokenizer()),
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": num_layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 2048,
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 1,
        **more,
    }


def qwen_vl() -> Any:
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6}
    config = transformers.Qwen2_5_VLConfig(
        text_config={**decoder(), "rope_scaling": rope, "rope_parameters": rope},
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
            "fullatt_block_indexes": [0],
        },
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def flux_vae(**more: Any) -> AutoencoderKL:
    return tiny_vae(4, shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False, **more)


def flow(**more: Any) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**more)


def flux_dev() -> Any:
    return diffusers.FluxPipeline(
        vae=flux_vae(),
        text_encoder=transformers.CLIPTextModel(tiny_text_config()),
        text_encoder_2=t5(),
        tokenizer=make_tokenizer(),
        tokenizer_2=tokenizer(),
        transformer=diffusers.FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
        scheduler=flow(use_dynamic_shifting=True),
    )


def flux2_transformer(layers: int, guidance: bool) -> Any:
    return diffusers.Flux2Transformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=layers * WIDTH,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance,
    )


def flux2_vae() -> Any:
    return diffusers.AutoencoderKLFlux2(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
    )


def flux2() -> Any:
    return diffusers.Flux2Pipeline(
        vae=flux2_vae(),
        text_encoder=transformers.Mistral3ForConditionalGeneration(
            transformers.Mistral3Config(
                text_config={**decoder(31), "model_type": "mistral"},
                vision_config={
                    "model_type": "pixtral",
                    "hidden_size": 16,
                    "intermediate_size": 16,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                    "head_dim": 8,
                    "image_size": 16,
                    "patch_size": 8,
                },
            )
        ),
        tokenizer=tokenizer(chat=True),
        transformer=flux2_transformer(3, True),
        scheduler=flow(use_dynamic_shifting=True),
    )


def flux2_klein(**more: Any) -> Any:
    return diffusers.Flux2KleinPipeline(
        vae=flux2_vae(),
        text_encoder=transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**decoder(28))),
        tokenizer=tokenizer(chat=True),
        transformer=flux2_transformer(3, False),
        scheduler=flow(use_dynamic_shifting=True),
        **more,
    )


def pixart_transformer() -> Any:
    return diffusers.PixArtTransformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        cross_attention_dim=16,
        caption_channels=WIDTH,
        use_additional_conditions=False,
    )


def pixart(kind: str) -> Any:
    return getattr(diffusers, kind)(
        tokenizer=tokenizer(),
        text_encoder=t5(),
        vae=tiny_vae(4, num_blocks=4),
        transformer=pixart_transformer(),
        scheduler=diffusers.DPMSolverMultistepScheduler(),
    )


def sana_vae() -> Any:
    blocks: Any = ("ResBlock",) * 5 + ("EfficientViTBlock",)
    return diffusers.AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=(4, 4, 4, 4, 4, 8),
        decoder_block_out_channels=(4, 4, 4, 4, 4, 8),
        encoder_qkv_multiscales=((),) * 5 + ((5,),),
        decoder_qkv_multiscales=((),) * 5 + ((5,),),
        encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=[1] * 6,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
    )


def gemma() -> Any:
    return transformers.Gemma2Model(transformers.Gemma2Config(**decoder(1)))


def sana(kind: str = "SanaPipeline", scheduler: Any = None, sample_size: int = 16, **more: Any) -> Any:
    """`sample_size`: 16 makes 512x512 pixels, whatever is asked, the fewest that it can; 32 makes 1024x1024."""
    return getattr(diffusers, kind)(
        tokenizer=tokenizer(),
        text_encoder=gemma(),
        vae=sana_vae(),
        transformer=diffusers.SanaTransformer2DModel(
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=4,
            num_cross_attention_heads=2,
            cross_attention_head_dim=4,
            cross_attention_dim=8,
            caption_channels=WIDTH,
            sample_size=sample_size,
            **more,
        ),
        scheduler=scheduler
        or diffusers.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )


def sana_sprint() -> Any:
    more = {"guidance_embeds": True, "qk_norm": "rms_norm_across_heads"}
    return sana("SanaSprintPipeline", diffusers.SCMScheduler(), sample_size=32, **more)  # of other sizes none fits it


def qwen_vae() -> AutoencoderKLQwenImage:
    return AutoencoderKLQwenImage(
        base_dim=24,
        z_dim=4,
        dim_mult=[1, 2],
        num_res_blocks=1,
        temperal_downsample=[False],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )


def qwen() -> Any:
    return diffusers.QwenImagePipeline(
        scheduler=flow(use_dynamic_shifting=True),
        vae=qwen_vae(),
        text_encoder=qwen_vl(),
        tokenizer=tokenizer(2048),
        transformer=diffusers.QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=16,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=(4, 6, 6),
        ),
    )


def z_image() -> Any:
    return diffusers.ZImagePipeline(
        scheduler=flow(use_dynamic_shifting=True),
        vae=flux_vae(),
        text_encoder=transformers.Qwen3Model(transformers.Qwen3Config(**decoder())),
        tokenizer=tokenizer(chat=True),
        transformer=diffusers.ZImageTransformer2DModel(
            all_patch_size=(2,),
            all_f_patch_size=(1,),
            in_channels=4,
            dim=WIDTH,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=WIDTH,
            axes_dims=[4, 6, 6],
            axes_lens=[1024, 64, 64],
        ),
    )


def chroma() -> Any:
    return diffusers.ChromaPipeline(
        vae=flux_vae(),
        text_encoder=t5(),
        tokenizer=tokenizer(),
        transformer=diffusers.ChromaTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
            approximator_hidden_dim=16,
            approximator_layers=1,
            approximator_num_channels=16,
        ),
        scheduler=flow(use_dynamic_shifting=True),
    )


def hidream() -> Any:
    return diffusers.HiDreamImagePipeline(
        scheduler=flow(),
        vae=tiny_vae(4, num_blocks=1, shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=transformers.CLIPTextModelWithProjection(tiny_text_config(128)),
        tokenizer=tokenizer(),
        text_encoder_2=transformers.CLIPTextModelWithProjection(tiny_text_config(128)),
        tokenizer_2=tokenizer(),
        text_encoder_3=t5(),
        tokenizer_3=tokenizer(),
        text_encoder_4=transformers.LlamaForCausalLM(transformers.LlamaConfig(**decoder())),
        tokenizer_4=tokenizer(),
        transformer=diffusers.HiDreamImageTransformer2DModel(
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            caption_channels=[WIDTH, WIDTH],
            text_emb_dim=2 * WIDTH,
            num_routed_experts=2,
            num_activated_experts=1,
            axes_dims_rope=(4, 2, 2),
            max_resolution=(64, 64),
            llama_layers=[0, 1],
        ),
    )


def hunyuan_dit() -> Any:
    return diffusers.HunyuanDiTPipeline(
        vae=tiny_vae(4, num_blocks=4),
        text_encoder=transformers.BertModel(
            transformers.BertConfig(
                vocab_size=len(make_tokenizer()),
                hidden_size=WIDTH,
                intermediate_size=WIDTH,
                num_hidden_layers=1,
                num_attention_heads=2,
            )
        ),
        tokenizer=tokenizer(77),
        text_encoder_2=t5(),
        tokenizer_2=tokenizer(256),
        transformer=diffusers.HunyuanDiT2DModel(
            sample_size=16,
            num_layers=2,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=2,
            in_channels=4,
            cross_attention_dim=WIDTH,
            cross_attention_dim_t5=WIDTH,
            pooled_projection_dim=16,
            hidden_size=16,
            activation_fn="gelu-approximate",
        ),
        scheduler=DDPMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def hunyuan_image(guided: bool = True) -> Any:
    guider = diffusers.AdaptiveProjectedMixGuidance(guidance_scale=3.5) if guided else None
    return diffusers.HunyuanImagePipeline(
        scheduler=flow(shift=7.0),
        vae=diffusers.AutoencoderKLHunyuanImage(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            block_out_channels=(32, 32),
            layers_per_block=1,
            spatial_compression_ratio=2,
            sample_size=16,
            scaling_factor=0.476,
        ),
        text_encoder=qwen_vl(),
        tokenizer=tokenizer(2048),
        text_encoder_2=t5(),
        tokenizer_2=tokenizer(),
        transformer=diffusers.HunyuanImageTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            patch_size=(1, 1),
            qk_norm="rms_norm",
            guidance_embeds=not guided,
            text_embed_dim=WIDTH,
            text_embed_2_dim=WIDTH,
            rope_axes_dim=(4, 4),
        ),
        guider=guider,
        ocr_guider=diffusers.AdaptiveProjectedMixGuidance(guidance_scale=3.5) if guided else None,
    )


def aura_flow() -> Any:
    return diffusers.AuraFlowPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5(),
        vae=tiny_vae(4),
        transformer=diffusers.AuraFlowTransformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            num_mmdit_layers=1,
            num_single_dit_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=WIDTH,
            out_channels=4,
            pos_embed_max_size=1024,
        ),
        scheduler=flow(),
    )


def lumina2() -> Any:
    return diffusers.Lumina2Pipeline(
        transformer=diffusers.Lumina2Transformer2DModel(
            sample_size=4,
            patch_size=2,
            in_channels=4,
            hidden_size=24,
            num_layers=2,
            num_refiner_layers=1,
            num_attention_heads=3,
            num_kv_heads=1,
            multiple_of=16,
            ffn_dim_multiplier=None,
            norm_eps=1e-5,
            scaling_factor=1.0,
            axes_dim_rope=(4, 2, 2),
            axes_lens=(512, 64, 64),
            cap_feat_dim=WIDTH,
        ),
        scheduler=flow(),
        vae=tiny_vae(4, num_blocks=4, shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=gemma(),
        tokenizer=tokenizer(),
    )


def cogview3() -> Any:
    return diffusers.CogView3PlusPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5(),
        vae=tiny_vae(4),
        transformer=diffusers.CogView3PlusTransformer2DModel(
            patch_size=2,
            in_channels=4,
            num_layers=1,
            attention_head_dim=4,
            num_attention_heads=2,
            out_channels=4,
            text_embed_dim=WIDTH,
            time_embed_dim=8,
            condition_dim=2,
            pos_embed_max_size=32,
            sample_size=8,
        ),
        scheduler=diffusers.CogVideoXDDIMScheduler(),
    )


def cogview4() -> Any:
    return diffusers.CogView4Pipeline(
        tokenizer=tokenizer(2048, "left"),
        text_encoder=transformers.GlmModel(transformers.GlmConfig(**decoder())),
        vae=tiny_vae(4),
        transformer=diffusers.CogView4Transformer2DModel(
            patch_size=2,
            in_channels=4,
            num_layers=1,
            attention_head_dim=4,
            num_attention_heads=4,
            out_channels=4,
            text_embed_dim=WIDTH,
            time_embed_dim=8,
            condition_dim=4,
            sample_size=8,
        ),
        scheduler=flow(base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True, time_shift_type="linear"),
    )


def movq() -> Any:
    return diffusers.VQModel(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        num_vq_embeddings=12,
        vq_embed_dim=4,
        norm_type="spatial",
    )


def kandinsky3() -> Any:
    return diffusers.Kandinsky3Pipeline(
        tokenizer=tokenizer(),
        text_encoder=t5(),
        unet=diffusers.Kandinsky3UNet(
            in_channels=4,
            time_embedding_dim=4,
            groups=2,
            attention_head_dim=4,
            layers_per_block=3,
            block_out_channels=(32, 64),
            cross_attention_dim=4,
            encoder_hid_dim=WIDTH,
        ),
        scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=True, thresholding=False),
        movq=movq(),
    )


def kandinsky22() -> Any:
    unet = diffusers.UNet2DConditionModel(
        in_channels=4,
        out_channels=8,
        addition_embed_type="image",
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        block_out_channels=(32, 64),
        layers_per_block=1,
        encoder_hid_dim=WIDTH,
        encoder_hid_dim_type="image_proj",
        cross_attention_dim=16,
        attention_head_dim=4,
        resnet_time_scale_shift="scale_shift",
        class_embed_type=None,
    )
    vision = transformers.CLIPVisionConfig(
        hidden_size=WIDTH,
        image_size=16,
        projection_dim=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=WIDTH,
        patch_size=8,
    )
    prior = diffusers.PriorTransformer(num_attention_heads=2, attention_head_dim=12, embedding_dim=WIDTH, num_layers=1)
    torch.nn.init.ones_(prior.clip_std)  # of zeros, every prompt would become the same
    return diffusers.KandinskyV22CombinedPipeline(
        unet=unet,
        scheduler=diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        movq=movq(),
        prior_prior=prior,
        prior_image_encoder=transformers.CLIPVisionModelWithProjection(vision),
        prior_text_encoder=transformers.CLIPTextModelWithProjection(tiny_text_config(77)),
        prior_tokenizer=tokenizer(77),
        prior_scheduler=diffusers.UnCLIPScheduler(
            variance_type="fixed_small_log",
            prediction_type="sample",
            num_train_timesteps=1000,
            clip_sample=True,
            clip_sample_range=10.0,
        ),
        prior_image_processor=transformers.CLIPImageProcessor(crop_size=16, size=16),
    )


def stable_cascade() -> Any:
    def unet(**more: Any) -> Any:
        return diffusers.StableCascadeUNet(conditioning_dim=16, switch_level=[False], **more)

    return diffusers.StableCascadeCombinedPipeline(
        tokenizer=tokenizer(77),
        text_encoder=transformers.CLIPTextModelWithProjection(tiny_text_config(77)),
        decoder=unet(
            in_channels=4,
            out_channels=4,
            block_out_channels=(16, 32),
            num_attention_heads=(-1, 2),
            down_num_layers_per_block=(1, 1),
            up_num_layers_per_block=(1, 1),
            clip_text_pooled_in_channels=WIDTH,
            down_blocks_repeat_mappers=(1, 1),
            up_blocks_repeat_mappers=(1, 1),
            block_types_per_layer=(
                ("SDCascadeResBlock", "SDCascadeTimestepBlock"),
                ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),
            ),
            effnet_in_channels=16,
            kernel_size=3,
            patch_size=1,
            self_attn=True,
            timestep_ratio_embedding_dim=16,
        ),
        scheduler=diffusers.DDPMWuerstchenScheduler(),
        vqgan=PaellaVQModel(bottleneck_blocks=1, num_vq_embeddings=8, embed_dim=16, latent_channels=4),
        prior_prior=unet(
            in_channels=16,
            out_channels=16,
            block_out_channels=(16, 16),
            num_attention_heads=(2, 2),
            down_num_layers_per_block=(1, 1),
            up_num_layers_per_block=(1, 1),
            clip_image_in_channels=WIDTH,
            clip_text_in_channels=WIDTH,
            clip_text_pooled_in_channels=WIDTH,
            down_blocks_repeat_mappers=(1, 1),
            up_blocks_repeat_mappers=(1, 1),
            block_types_per_layer=(
                ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),
                ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),
            ),
            kernel_size=3,
            patch_size=1,
            self_attn=True,
            timestep_ratio_embedding_dim=16,
            timestep_conditioning_type=[],
        ),
        prior_text_encoder=transformers.CLIPTextModelWithProjection(tiny_text_config(77)),
        prior_tokenizer=tokenizer(77),
        prior_scheduler=diffusers.DDPMWuerstchenScheduler(),
    )


def deepfloyd_if() -> Any:
    return diffusers.IFPipeline(
        tokenizer=tokenizer(77),
        text_encoder=t5(),
        unet=diffusers.UNet2DConditionModel(
            sample_size=16,
            layers_per_block=1,
            block_out_channels=(32, 64),
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            in_channels=3,
            out_channels=6,
            cross_attention_dim=WIDTH,
            encoder_hid_dim=WIDTH,
            attention_head_dim=8,
            addition_embed_type="text",
            addition_embed_type_num_heads=2,
            cross_attention_norm="group_norm",
            resnet_time_scale_shift="scale_shift",
            act_fn="gelu",
        ),
        scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2", variance_type="learned_range", thresholding=True),
        watermarker=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def bria() -> Any:
    return diffusers.BriaPipeline(
        scheduler=flow(),
        vae=flux_vae(),
        text_encoder=t5(),
        tokenizer=tokenizer(),
        transformer=diffusers.BriaTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=None,
            axes_dims_rope=(0, 4, 4),
        ),
    )


def ovis() -> Any:
    return diffusers.OvisImagePipeline(
        scheduler=flow(use_dynamic_shifting=True),
        vae=flux_vae(),
        text_encoder=transformers.Qwen3Model(transformers.Qwen3Config(**decoder())),
        tokenizer=tokenizer(chat=True),
        transformer=diffusers.OvisImageTransformer2DModel(
            patch_size=1,
            in_channels=16,
            out_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
        ),
    )


def pag(kind: str, folder_of: Callable[[Path], Path], folder: Path) -> Path:
    """A model of one kind under the name of the class that perturbs its attention."""
    import json

    index = folder_of(folder) / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": kind}))
    return folder


# Name -> what makes its pipeline.
PIPELINES: Mapping[str, Callable[[], Any]] = {
    "flux_dev": flux_dev,
    "flux2": flux2,
    "flux2_klein": flux2_klein,
    "flux2_klein_distilled": lambda: flux2_klein(is_distilled=True),
    "pixart_alpha": lambda: pixart("PixArtAlphaPipeline"),
    "pixart_sigma": lambda: pixart("PixArtSigmaPipeline"),
    "sana": sana,
    "sana_sprint": sana_sprint,
    "qwen": qwen,
    "z_image": z_image,
    "chroma": chroma,
    "hidream": hidream,
    "hunyuan_dit": hunyuan_dit,
    "hunyuan_image": hunyuan_image,
    "hunyuan_image_distilled": lambda: hunyuan_image(guided=False),
    "aura_flow": aura_flow,
    "lumina2": lumina2,
    "cogview3": cogview3,
    "cogview4": cogview4,
    "kandinsky22": kandinsky22,
    "kandinsky3": kandinsky3,
    "stable_cascade": stable_cascade,
    "if": deepfloyd_if,
    "bria": bria,
    "ovis": ovis,
}


def tiny(name: str, folder: Path) -> Path:
    torch.manual_seed(0)
    PIPELINES[name]().save_pretrained(folder)
    return folder
