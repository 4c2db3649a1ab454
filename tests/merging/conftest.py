"""A tiny Stable Diffusion pipeline and tiny experts for it, all made from the real classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from diffgraph.bases.index import BaseIndex
from diffgraph.files.hashing import weights_sha256
from diffgraph.merging.engine.engine import Engine
from diffgraph.merging.plan.merge_plan import MergePlan, Method, PlanBase, PlanExpert, Sampler

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
EVERYTHING = (*ATTENTION, "ff.net.0.proj", "ff.net.2", "conv1", "conv2", "proj_in", "time_emb_proj")


def tiny_unet(seed: int, cross: int = 8) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    return UNet2DConditionModel(
        sample_size=4,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=cross,
        attention_head_dim=4,
        norm_num_groups=4,
    )


def tiny_pipeline(folder: Path, seed: int = 0) -> None:
    vocab: dict[str, int] = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    letters = "abcdefghijklmnopqrstuvwxyz,"
    for token in [*letters, *(f"{letter}</w>" for letter in letters)]:
        vocab[token] = len(vocab)
    unet = tiny_unet(seed)
    torch.manual_seed(seed + 1)
    text = CLIPTextConfig(
        vocab_size=len(vocab),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    encoder = CLIPTextModel(text)
    vae = AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=8,
    )
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=CLIPTokenizer(vocab=vocab, merges=[], model_max_length=16),
        unet=unet,
        scheduler=DDIMScheduler(prediction_type="v_prediction", clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder)


@dataclass
class World:
    """The tiny base, where experts are, and short ways to plans."""

    root: Path
    base_dir: Path
    base: BaseIndex
    paths: dict[str, Path] = field(default_factory=dict)

    def locate(self, expert: PlanExpert) -> Path:
        return self.paths[expert.id]

    def add(self, name: str, path: Path) -> str:
        self.paths[name] = path
        return name

    def write(self, name: str, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> Path:
        path = self.root / f"{name}.safetensors"
        save_file({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, path, metadata)
        self.add(name, path)
        return path

    def lora(
        self,
        name: str,
        seed: int,
        *,
        config: dict[str, Any] | None = None,
        text: dict[str, Any] | None = None,
        strength: float = 0.1,
        metadata: bool = True,
    ) -> Path:
        """A LoRA with random factors, saved as diffusers saves it."""
        pipe = StableDiffusionPipeline.from_pretrained(self.base_dir, safety_checker=None)
        options = {"r": 4, "lora_alpha": 4, "target_modules": list(EVERYTHING)} | (config or {})
        pipe.unet.add_adapter(LoraConfig(**options))
        modules = {"unet": pipe.unet}
        if text is not None:
            pipe.text_encoder.add_adapter(LoraConfig(**text))
            modules["text_encoder"] = pipe.text_encoder
        generator = torch.Generator().manual_seed(seed)
        layers: dict[str, Any] = {}
        for component, module in modules.items():
            state = get_peft_model_state_dict(module)
            for key in sorted(state):
                state[key] = torch.randn(state[key].shape, generator=generator) * strength**0.5
            layers[f"{component}_lora_layers"] = state
        extra = _collate_lora_metadata(modules) if metadata else {}
        folder = self.root / name
        StableDiffusionPipeline.save_lora_weights(folder, **layers, **extra)
        path = folder / "pytorch_lora_weights.safetensors"
        self.add(name, path)
        return path

    def checkpoint(self, name: str, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Path:
        """A fine-tuned UNet: a diffusers folder that holds only unet/."""
        folder = self.root / name
        unet = UNet2DConditionModel.from_pretrained(self.base_dir / "unet")
        with torch.no_grad():
            for key, parameter in unet.named_parameters():
                parameter.copy_(change(key, parameter))
        unet.save_pretrained(folder / "unet")
        self.add(name, folder)
        return folder

    def expert(self, name: str, weight: float = 1.0, facet: str = "subject", **more: Any) -> PlanExpert:
        path = self.paths[name]
        files = sorted(path.glob("unet/*.safetensors")) if path.is_dir() else [path]
        sha256 = weights_sha256(files)
        return PlanExpert(id=name, ref=f"folder:{name}@0:x", sha256=sha256, weight=weight, facet=facet, **more)

    def plan(self, *experts: PlanExpert, method: str = "linear", params: dict[str, Any] | None = None, **more: Any):
        return MergePlan(
            base=PlanBase(ref="tiny", family="tiny", sha256=self.base.sha256),
            experts=experts,
            method=Method(name=method, params=params or {}),
            **({"prompt": "an owl", "sampler": Sampler(steps=3)} | more),
        )

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.paths[name])

    def fused_by_diffusers(self, path: Path) -> dict[str, torch.Tensor]:
        """The oracle: target -> weight after diffusers/PEFT loaded the file and merged it."""
        pipe = StableDiffusionPipeline.from_pretrained(self.base_dir, safety_checker=None)
        pipe.load_lora_weights(path)
        pipe.fuse_lora()
        pipe.unload_lora_weights()
        out = {f"unet.{key}": p.detach() for key, p in pipe.unet.named_parameters()}
        return out | {f"text_encoder.{key}": p.detach() for key, p in pipe.text_encoder.named_parameters()}


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "base"
    tiny_pipeline(folder)
    return folder


@pytest.fixture(scope="session")
def shared(base_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world with three LoRAs of mixed kinds and one full fine-tune, for tests that only read."""
    world = World(tmp_path_factory.mktemp("experts"), base_dir, BaseIndex.open(base_dir))
    world.lora("owl", 1)
    world.lora("ink", 2, config={"r": 2, "lora_alpha": 3, "target_modules": list(ATTENTION)})
    world.lora("stars", 3, config={"r": 3, "lora_alpha": 5, "target_modules": ["to_k", "to_v", "conv1"]})
    generator = torch.Generator().manual_seed(4)
    world.checkpoint(
        "tuned", lambda key, t: t + 0.01 * torch.randn(t.shape, generator=generator) if "mid_block" in key else t
    )
    return world


@pytest.fixture
def world(shared: World, tmp_path: Path) -> World:
    """The shared world, with a folder of its own for what a test adds."""
    return World(tmp_path, shared.base_dir, shared.base, dict(shared.paths))


@pytest.fixture(scope="session")
def session_engine(base_dir: Path) -> Engine:
    return Engine(base_dir, device="cpu")


@pytest.fixture
def engine(session_engine: Engine) -> Engine:
    """An engine at its base."""
    session_engine.reset()
    return session_engine


@pytest.fixture(scope="session")
def metadata_of() -> Callable[[Path], dict[str, Any]]:
    from safetensors import safe_open

    def read(path: Path) -> dict[str, Any]:
        with safe_open(path, "pt") as file:
            return json.loads(file.metadata()["lora_adapter_metadata"])

    return read
