"""Pico pipelines of every family: real pipeline, encoders, tokenizers, autoencoder, scheduler; seeded random weights.

What reads text has the real width where a family is told by it (768, 1024, 2048 in Stable Diffusion's UNets).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AuraFlowPipeline,
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    ChromaPipeline,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    FluxPipeline,
    HiDreamImagePipeline,
    Lumina2Pipeline,
    PNDMScheduler,
    QwenImagePipeline,
    SanaPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    ZImagePipeline,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    LlamaConfig,
    LlamaForCausalLM,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from . import denoisers, tokenizers_small

_TEXT = re.compile(r"context_embedder|txt_in|add_[kv]_proj")
"""Where text enters a denoiser whose many other tokens would drown it: paddings, templates."""
LDM_NOISE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}


def clip(width: int, kind: Any = CLIPTextModel, *, positions: int = 77, act: str = "gelu") -> Any:
    tokens = tokenizers_small.clip()
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokens),
            hidden_size=width,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=max(1, width // 64),
            max_position_embeddings=positions,
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
            pad_token_id=tokens.pad_token_id,
            projection_dim=width,
            hidden_act=act,
        )
    )


def vae(channels: int = 4, **more: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=channels,
        sample_size=64,
        **more,
    )


def modern_vae(channels: int) -> AutoencoderKL:
    """As the flow-matching families have it: no quantisation convolutions, latents shifted."""
    return vae(channels, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.1, scaling_factor=0.36)


def t5(tokens: int, kind: Any = T5EncoderModel, config: Any = T5Config) -> Any:
    return kind(config(vocab_size=tokens, d_model=12, d_kv=4, d_ff=16, num_layers=1, num_heads=2))


def flow(shift: float = 3.0, **more: Any) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(shift=shift, **more)


def _stable_diffusion(**parts: Any) -> StableDiffusionPipeline:
    unchecked = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return StableDiffusionPipeline(vae=vae(), tokenizer=tokenizers_small.clip(), **unchecked, **parts)


def sd15() -> StableDiffusionPipeline:
    return _stable_diffusion(
        unet=denoisers.sd15(cross_attention_dim=768, sample_size=8),
        text_encoder=clip(768, act="quick_gelu"),
        scheduler=PNDMScheduler(skip_prk_steps=True, **LDM_NOISE),
    )


def sd21() -> StableDiffusionPipeline:
    """The 768-pixel release: it predicts velocity."""
    return _stable_diffusion(
        unet=denoisers.sd15(cross_attention_dim=1024, sample_size=8, use_linear_projection=True),
        text_encoder=clip(1024),
        scheduler=DDIMScheduler(prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False, **LDM_NOISE),
    )


def sdxl() -> StableDiffusionXLPipeline:
    tokens = tokenizers_small.clip
    return StableDiffusionXLPipeline(
        vae=vae(force_upcast=True),
        text_encoder=clip(768, act="quick_gelu"),
        text_encoder_2=clip(1280, CLIPTextModelWithProjection),
        tokenizer=tokens(),
        tokenizer_2=tokens(),
        unet=denoisers.sdxl(
            cross_attention_dim=2048,
            sample_size=8,
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=1280 + 6 * 8,
        ),
        scheduler=EulerDiscreteScheduler(**LDM_NOISE),
        add_watermarker=False,
    )


def sd3() -> StableDiffusion3Pipeline:
    tokens, third = tokenizers_small.clip, tokenizers_small.t5()
    first = clip(4, CLIPTextModelWithProjection, act="quick_gelu")
    torch.nn.init.eye_(first.text_projection.weight)  # as diffusers has it, whatever a single file says
    return StableDiffusion3Pipeline(
        transformer=denoisers.sd3(sample_size=8, pos_embed_max_size=16),
        scheduler=flow(),
        vae=modern_vae(4),
        text_encoder=first,
        tokenizer=tokens(),
        text_encoder_2=clip(6, CLIPTextModelWithProjection),
        tokenizer_2=tokens(),
        text_encoder_3=t5(len(third)),
        tokenizer_3=third,
    )


def flux1(**more: Any) -> FluxPipeline:
    second = tokenizers_small.t5()
    return FluxPipeline(
        scheduler=flow(use_dynamic_shifting=True),
        vae=modern_vae(1),
        text_encoder=clip(10, act="quick_gelu"),
        tokenizer=tokenizers_small.clip(),
        text_encoder_2=t5(len(second)),
        tokenizer_2=second,
        transformer=denoisers.flux1(**more),
    )


def _flux2_vae() -> AutoencoderKLFlux2:
    return AutoencoderKLFlux2(
        block_out_channels=(8,) * 4, layers_per_block=1, norm_num_groups=4, latent_channels=2, sample_size=64
    )


def _sizes(tokens: int, layers: int, width: int) -> dict[str, Any]:
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": max(4, width // 2)}
    heads |= {"bos_token_id": tokens - 3, "eos_token_id": tokens - 1, "pad_token_id": tokens - 2}
    return {"vocab_size": tokens, "hidden_size": width, "intermediate_size": 8, "num_hidden_layers": layers, **heads}


def flux2() -> Flux2Pipeline:
    tokens = tokenizers_small.chat()
    seeing = {"model_type": "pixtral", "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1}
    seeing |= {"num_attention_heads": 1, "image_size": 16, "patch_size": 8}
    config = Mistral3Config(
        text_config={"model_type": "mistral", **_sizes(len(tokens), 31, 4)}, vision_config=seeing, image_token_index=10
    )
    return Flux2Pipeline(
        scheduler=flow(use_dynamic_shifting=True),
        vae=_flux2_vae(),
        text_encoder=Mistral3ForConditionalGeneration(config),
        tokenizer=tokens,
        transformer=denoisers.flux2(),
    )


def flux2_klein() -> Flux2KleinPipeline:
    tokens = tokenizers_small.qwen()
    return Flux2KleinPipeline(
        scheduler=flow(use_dynamic_shifting=True),
        vae=_flux2_vae(),
        text_encoder=Qwen3ForCausalLM(Qwen3Config(**_sizes(len(tokens), 28, 4))),
        tokenizer=tokens,
        transformer=denoisers.flux2(guidance_embeds=False),
        is_distilled=True,
    )


def qwen() -> QwenImagePipeline:
    tokens = tokenizers_small.qwen()
    text = _sizes(len(tokens), 1, 12) | {"rope_scaling": {"type": "default", "mrope_section": [1, 1, 1]}}
    seeing = {"depth": 1, "hidden_size": 4, "intermediate_size": 4, "num_heads": 1, "out_hidden_size": 12}
    del text["head_dim"]
    return QwenImagePipeline(
        scheduler=flow(1.0, use_dynamic_shifting=True),
        vae=AutoencoderKLQwenImage(
            base_dim=4, z_dim=2, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.0] * 2, latents_std=[8.0] * 2
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=seeing)),
        tokenizer=tokens,
        transformer=denoisers.qwen(),
    )


def z_image() -> ZImagePipeline:
    tokens = tokenizers_small.qwen()
    return ZImagePipeline(
        scheduler=flow(),
        vae=modern_vae(4),
        text_encoder=Qwen3Model(Qwen3Config(**_sizes(len(tokens), 2, 12))),
        tokenizer=tokens,
        transformer=denoisers.z_image(axes_lens=[1024, 64, 64]),
    )


def chroma() -> ChromaPipeline:
    tokens = tokenizers_small.t5()
    return ChromaPipeline(
        scheduler=flow(),
        vae=modern_vae(1),
        text_encoder=t5(len(tokens)),
        tokenizer=tokens,
        transformer=denoisers.chroma(),
    )


def auraflow() -> AuraFlowPipeline:
    tokens = tokenizers_small.t5()
    return AuraFlowPipeline(
        tokenizer=tokens,
        text_encoder=t5(len(tokens), UMT5EncoderModel, UMT5Config),
        vae=vae(),
        transformer=denoisers.auraflow(),
        scheduler=flow(1.73),
    )


def _gemma(tokens: int) -> Gemma2Model:
    return Gemma2Model(Gemma2Config(**_sizes(tokens, 2, 12) | {"query_pre_attn_scalar": 6}))


def lumina2() -> Lumina2Pipeline:
    tokens = tokenizers_small.gemma()
    return Lumina2Pipeline(
        transformer=denoisers.lumina2(),
        scheduler=flow(6.0),
        vae=modern_vae(4),
        text_encoder=_gemma(len(tokens)),
        tokenizer=tokens,
    )


def sana() -> SanaPipeline:
    tokens = tokenizers_small.gemma()
    blocks = {"block_out_channels": (8,) * 6, "layers_per_block": (1,) * 6, "qkv_multiscales": ((),) * 6}
    sides = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in blocks.items()}
    return SanaPipeline(
        tokenizer=tokens,
        text_encoder=_gemma(len(tokens)),
        vae=AutoencoderDC(latent_channels=4, attention_head_dim=2, **sides),
        transformer=denoisers.sana(),
        scheduler=DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
    )


def hidream() -> HiDreamImagePipeline:
    clips, third, fourth = tokenizers_small.clip, tokenizers_small.t5(), tokenizers_small.chat()
    return HiDreamImagePipeline(
        scheduler=flow(),
        vae=modern_vae(4),
        text_encoder=clip(10, CLIPTextModelWithProjection, positions=248),
        tokenizer=clips(),
        text_encoder_2=clip(10, CLIPTextModelWithProjection, positions=248),
        tokenizer_2=clips(),
        text_encoder_3=t5(len(third)),
        tokenizer_3=third,
        text_encoder_4=LlamaForCausalLM(LlamaConfig(**_sizes(len(fourth), 2, 8))),
        tokenizer_4=fourth,
        transformer=denoisers.hidream(),
    )


MAKERS: dict[str, Callable[[], Any]] = {
    maker.__name__: maker
    for maker in (
        sd15, sd21, sdxl, sd3, flux1, flux2, flux2_klein, qwen, z_image, chroma, auraflow, lumina2, sana, hidream
    )
}  # fmt: skip
"""Family -> what makes its pipeline."""
FOLDERS = {
    "sd15": "stable-diffusion-v1-5",
    "sd21": "stable-diffusion-2-1",
    "sdxl": "stable-diffusion-xl-base-1.0",
    "sd3": "stable-diffusion-3.5-medium",
    "flux1": "FLUX.1-dev",
    "flux2": "FLUX.2-dev",
    "flux2_klein": "FLUX.2-klein-4B",
    "qwen": "Qwen-Image",
    "z_image": "Z-Image-Turbo",
    "chroma": "Chroma1-HD",
    "auraflow": "AuraFlow-v0.3",
    "lumina2": "Lumina-Image-2.0",
    "sana": "Sana_600M_512px_diffusers",
    "hidream": "HiDream-I1-Full",
}
"""Family -> the name of the release that its folder is called by."""


def _loud_words(encoder: torch.nn.Module) -> None:
    """Embeddings of words so far apart that other words show in the image."""
    with torch.no_grad():
        for module in encoder.modules():
            if isinstance(module, torch.nn.Embedding):
                module.weight.normal_()


def _open_gates(denoiser: torch.nn.Module) -> None:
    """Gates and last layers start at zero: nothing would be drawn, and no expert would show."""
    with torch.no_grad():
        for name, parameter in denoiser.named_parameters():
            if not parameter.any():
                parameter.normal_(std=0.3)
            elif parameter.dim() > 1:
                parameter.mul_(9.0 if _TEXT.search(name) else 2.0)


def build(name: str, folder: Path) -> Path:
    """Write the pipeline of a family to ``folder``. The same weights every time."""
    torch.manual_seed(sorted(MAKERS).index(name))
    pipe = MAKERS[name]()
    for component in pipe.components.values():
        if isinstance(component, torch.nn.Module):
            component.eval().requires_grad_(False)
    for part, component in pipe.components.items():
        if part.startswith("text_encoder"):
            _loud_words(component)
    _open_gates(pipe.unet if hasattr(pipe, "unet") else pipe.transformer)
    pipe.save_pretrained(folder)
    return folder
