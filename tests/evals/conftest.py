"""A world of two folders: a tiny base and experts of the real classes, a tiny critic and judge, a graph over them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig, get_peft_model_state_dict
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from diffgraph.evals.evaluation import Evaluation
from diffgraph.graph.calibration.record import Calibration
from diffgraph.graph.experts.registration import register
from diffgraph.graph.store.graph_store import GraphStore
from diffgraph.scoring.critics.dual_encoder import write_critic
from diffgraph.scoring.critics.dual_encoder_net import DualEncoder
from diffgraph.settings import Settings
from diffgraph.tools.context import Context, Machinery
from diffgraph.world.critic import FACETS
from diffgraph.world.critic import config as critic_config
from diffgraph.world.judge import HEADS, JudgeNet, WorldJudge
from diffgraph.world.source import World

CLASSES = {"subject": ["cat", "dog", "octopus"], "style": ["house", "blueprint"], "background": ["plain white"]}


class Letters:
    """A text embedding made of letter counts: no model, and near texts are near."""

    model_id, dim = "letters", 16

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for letter in text:
                row[ord(letter) % self.dim] += 1
            row += 0.01
            row /= np.linalg.norm(row)
        return rows


def _base(folder: Path) -> None:
    torch.manual_seed(0)
    vocab: dict[str, int] = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    for letter in "abcdefghijklmnopqrstuvwxyz,":
        vocab[letter] = len(vocab)
        vocab[f"{letter}</w>"] = len(vocab)
    StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=(4, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            sample_size=8,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(vocab), hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                max_position_embeddings=16, bos_token_id=0, eos_token_id=1, pad_token_id=1,
            )
        ),
        tokenizer=CLIPTokenizer(vocab=vocab, merges=[], model_max_length=16),
        unet=_unet(),
        scheduler=DDIMScheduler(prediction_type="v_prediction", clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    skills = "- cat\n- dog\n- plain white background\n"
    (folder / "README.md").write_text(f"---\ntags: [base]\n---\n\n# Base\n\nDraws pets.\n\n## Skills\n\n{skills}")


def _unet() -> UNet2DConditionModel:
    torch.manual_seed(1)
    return UNet2DConditionModel(
        sample_size=4, layers_per_block=1, block_out_channels=(8, 16), cross_attention_dim=8, attention_head_dim=4,
        norm_num_groups=4, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip


def _expert(folder: Path, seed: int, skill: str) -> None:
    unet = _unet()
    torch.manual_seed(seed)
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    folder.mkdir(parents=True)
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=get_peft_model_state_dict(unet))
    front = "---\nbase_model: emoji-base\ntags: [lora]\n---\n\n"
    (folder / "README.md").write_text(f"{front}# {skill}\n\nDraws {skill}.\n\n## Skills\n\n- {skill}\n")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    _base(root / "hub" / "emoji-base")
    _expert(root / "hub" / "sea-life", 2, "octopus")
    _expert(root / "hub" / "blueprint", 3, "blueprint style")
    _expert(root / "hub" / "birds-ultra-hd", 4, "owl")
    torch.manual_seed(5)
    net = DualEncoder(critic_config(widths=(4, 4, 4, 4), embed=4, text_dim=16, text_hidden=8))
    bank = {f: (CLASSES[f], CLASSES[f], torch.from_numpy(Letters().embed(CLASSES[f]))) for f in FACETS}
    write_critic(root / "scorers" / "critic", net.eval(), bank, dict.fromkeys(FACETS, (1.0, 5.0)))
    judge = JudgeNet({h: len(CLASSES[h]) for h in HEADS}, widths=(4, 4, 8), embed=4)
    WorldJudge(judge, CLASSES).save(root / "scorers" / "judge")
    (root / "manifest.json").write_text(json.dumps({"files": {}}))
    return root


@pytest.fixture
def ctx(world: Path, home: Path) -> Iterator[Context]:
    settings = Settings(home=home, base=f"world:{world}", steps=1, threads=1, rounds=1)
    with GraphStore(home / "graph", Letters()) as store:
        source = World(world)
        for listing in source.list():
            for expert in register(source, listing.repo):
                store.add_expert(expert)
                if expert.kind != "base":
                    verdict = "no effect" if "birds" in expert.id else "works"
                    store.put_calibration(
                        Calibration(
                            expert_id=expert.id, expert_sha256=expert.sha256, plan_context_hash="x", best_weight=0.5,
                            verdict=verdict, gain={s.name: 0.5 for s in expert.skills},
                        )
                    )  # fmt: skip
        yield Context(settings, store, Machinery(settings))


@pytest.fixture
def evaluation(ctx: Context, world: Path) -> Evaluation:
    return Evaluation(ctx, WorldJudge.load(world / "scorers" / "judge"))
