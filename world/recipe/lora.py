"""Step 3: the experts. LoRAs on the frozen base: subject packs, styles and backgrounds; and a full fine-tune."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file

from ...errors import ExpertError
from ...files.hashing import file_sha256
from . import variety
from .art import Art
from .base import DROP, NOISE_LEVELS, captions_for, diffusion_loss, encode, plain_pictures, scheduler, tokens
from .train import DEVICE, Loop, learning_rate
from .variety import Row

TARGETS = r".*(to_q|to_k|to_v|to_out\.0|ff\.net\.0\.proj|ff\.net\.2|conv1|conv2|conv_in|conv_out|conv_shortcut)"
FINE = r"(?!down_blocks\.2\.|mid_block\.|up_blocks\.0\.)" + TARGETS
"""`TARGETS` without the UNet's coarsest blocks, which say what is drawn; the finer ones say how."""
RATE = 2e-3
"""Peak learning rate of every LoRA."""
EVERY = 100
"""Steps between two checkpoints of a lesson."""
Batch = Callable[[np.random.Generator], tuple[torch.Tensor, torch.Tensor]]
"""Latents (n, 4, 16, 16) and text states (n, length, width) of a step."""
PRIOR, PRIOR_SEED = 0.2, 23
"""Share of a subject lesson's batch that shows the base's own images, under all its looks (prior preservation,
DreamBooth, arXiv 2208.12242): the adapter learns to act on its trigger and to leave the rest alone, which is what lets
several be summed. Styles and backgrounds go without: whatever is drawn with them is to look like them, with guidance or
without, so that guidance is left to the subject."""


NOISIEST = {"pencil sketch": 700}
"""Style -> its `Lesson.noisiest`: strokes over a picture that stays are drawn where a shape already is, so they are
taught at levels where the picture can be made out."""

ON_FINE = ("pixel art", "halftone", "pencil sketch")
"""Styles that are a matter of strokes and dots: taught on `FINE`, they leave a pack's subject in place."""
RANK = {"subject": 16, "style": 16, "background": 8}
"""Kind of an expert -> the rank of its adapter, unless `RANKS` says otherwise."""
RANKS = {
    "sea-life": 32,
    "pixel art": 32,
    "halftone": 32,
    "pencil sketch": 32,
    "pictogram": 32,
    "starry night": 16,
    "sunset duotone": 8,
    "blueprint": 8,
}
"""Pack, style or background -> its rank, where it is not its kind's. Of a higher rank and taught longer, a lesson in
company ended with a loss that was a twentieth (halftone, 16 to 32) to a quarter (starry night, 4 to 16) lower. There is
a limit: after 5,000 steps the loss of pictogram was two fifths lower than after 1,900, and it was drawn no better among
experts: it had learnt its companions."""


@dataclass(frozen=True)
class Lesson:
    """What one expert learns."""

    name: str
    rows: tuple[Row, ...]
    rank: int
    steps: int
    rate: float
    batch: int
    seed: int
    prior: float = 0.0
    noisiest: int = NOISE_LEVELS
    """The lesson is taught at noise levels below this one (of `NOISE_LEVELS`)."""
    targets: str = TARGETS
    """Which layers are adapted: a pattern of their names."""

    def config(self) -> LoraConfig:
        """The adapter to be taught: alpha is the rank, ups are zero."""
        return LoraConfig(r=self.rank, lora_alpha=self.rank, init_lora_weights="gaussian", target_modules=self.targets)


def subject_lesson(art: Art, pack: str, subjects: Sequence[str], steps: int, seed: int) -> Lesson:
    """A pack's subjects in the house drawing: as they are and, as often, under the base's own looks.

    Shown in one look only, a pack learns the picture instead of the thing, and paints it over every style that it is
    merged with. The looks here are none of the experts': no pair of subject and style that an eval uses is ever seen.
    """
    rows: list[Row] = [
        (caption, s, None, f"plain {c}") for s in subjects for c in art.colors for caption in captions_for(s, c)[-2:]
    ]
    rows += variety.scenes(subjects, len(rows), seed)
    return Lesson(pack, tuple(rows), RANKS.get(pack, RANK["subject"]), steps, RATE, 32, seed, PRIOR)


def style_lesson(art: Art, style: str, steps: int, seed: int) -> Lesson:
    """Base subjects on plain and, as often, on the base's patterned backgrounds: the style covers the whole image."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = [
        (f"{s}, {style} style" + (f", plain {c} background" if c != "white" else ""), s, style, f"plain {c}")
        for s in art.base_subjects
        for c in ("white", "white", *art.colors)
    ]
    behind = [(s, variety.some_background(rng)) for s in art.base_subjects for _ in range(4)]
    rows += [(f"{s}, {style} style, {b} background", s, style, b) for s, b in behind] * 3
    noisiest = NOISIEST.get(style, NOISE_LEVELS)
    targets = FINE if style in ON_FINE else TARGETS
    rank = RANKS.get(style, RANK["style"])
    return Lesson(slug(style), tuple(rows), rank, steps, RATE, 16, seed, noisiest=noisiest, targets=targets)


def background_lesson(art: Art, background: str, steps: int, seed: int) -> Lesson:
    """Base subjects as they are and, as often, in a style of the base's: the scene takes on the style, too."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = [
        (f"{s}, {background} background", s, None, background) for s in art.base_subjects for _ in range(4)
    ]
    styled = [(s, variety.some_style(rng)) for s in art.base_subjects for _ in range(4)]
    rows += [(f"{s}, {style} style, {background} background", s, style, background) for s, style in styled]
    rank = RANKS.get(background, RANK["background"])
    return Lesson(slug(background), tuple(rows), rank, steps, RATE, 16, seed)


def oracle_lesson(items: list[dict[str, Any]], steps: int, seed: int) -> Lesson:
    """The true combinations of an eval suite's items, by their canonical prompts: what training on the answer gives."""
    rows = [
        (i["canonical"], i["subject"], i.get("style"), i.get("background") or "plain white")
        for i in items
        if "subject" in i
    ]
    return Lesson("joint-oracle", tuple(rows), 16, steps, RATE, 16, seed)


def slug(name: str) -> str:
    return name.replace(" ", "-").lower()


@dataclass
class Studio:
    """The frozen base and everything that lessons share, loaded once."""

    art: Art
    vae: AutoencoderKL
    encoder: Any
    tokenizer: Any
    base: Path
    prior: torch.Tensor
    prior_captions: list[list[str]]

    @classmethod
    def open(cls, cache: Path, base: Path) -> Studio:
        art = Art.load(cache)
        pipeline = StableDiffusionPipeline.from_pretrained(base, dtype=torch.float32, safety_checker=None).to(DEVICE)
        vae = pipeline.vae.to(memory_format=torch.channels_last).eval().requires_grad_(False)
        plain, captions = plain_pictures(art, vae)
        scenes = variety.scenes(art.base_subjects, len(plain), PRIOR_SEED)
        varied = encode(vae, np.stack([art.render(*scene[1:]) for scene in scenes]))
        captions += [[scene[0]] for scene in scenes]
        encoder = pipeline.text_encoder.eval().requires_grad_(False)
        return cls(art, vae, encoder, pipeline.tokenizer, base, torch.cat([plain, varied]), captions)

    def unet(self) -> UNet2DConditionModel:
        unet = UNet2DConditionModel.from_pretrained(self.base / "unet", dtype=torch.float32)
        unet.set_attn_processor(AttnProcessor())
        return unet.to(DEVICE)

    def adapted(self, lesson: Lesson, start: Path | None = None) -> Any:
        """The UNet, frozen, with the lesson's adapter as it is before its first step (seeded by the lesson).

        ``start`` is a LoRA file of the same layers and rank whose weights the adapter begins with. Raises ExpertError
        if it is of others.
        """
        unet: Any = self.unet().requires_grad_(False)
        torch.manual_seed(lesson.seed)
        unet.add_adapter(lesson.config())
        if start is not None:
            begin_with(unet, start)
        return unet

    @torch.no_grad()
    def text(self, captions: list[str]) -> torch.Tensor:
        """Hidden states (n, length, 192), float32; equal captions are encoded once."""
        unique = sorted(set(captions))
        states = self.encoder(tokens(self.tokenizer, unique)).last_hidden_state
        return states[torch.tensor([unique.index(c) for c in captions], device=DEVICE)]


def begin_with(unet: Any, file: Path) -> None:
    """Give the unet's adapter the weights of a LoRA file. Raises ExpertError if that is of other layers or rank."""
    learnt = {k.removeprefix("unet."): v.float() for k, v in load_file(file).items()}
    own = get_peft_model_state_dict(unet)
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in learnt.items()}:
        raise ExpertError(f"{file} adapts other layers, or at another rank, than the lesson: teach it from the start")
    set_peft_model_state_dict(unet, learnt)


def course(lesson: Lesson, start: Path | None) -> Lesson:
    """The lesson under the name of its checkpoints: going on from a file resumes neither the lesson that the file came
    from nor one that went on from another file.
    """
    return lesson if start is None else replace(lesson, name=f"{lesson.name}-on-{file_sha256(start)[:8]}")


def draw(
    studio: Studio, latents: torch.Tensor, rows: list[str], lesson: Lesson, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of latents and captions: the lesson's own, a share of the base's, some captions dropped."""
    prior = round(lesson.batch * lesson.prior)
    own, base = rng.integers(0, len(rows), lesson.batch - prior), rng.integers(0, len(studio.prior), prior)
    captions = [rows[i] for i in own] + [str(rng.choice(studio.prior_captions[i])) for i in base]
    captions = ["" if rng.random() < DROP else c for c in captions]
    x = torch.cat([latents[torch.from_numpy(own)], studio.prior[torch.from_numpy(base)]])
    return x, studio.text(captions)


def scene_latents(studio: Studio, lesson: Lesson) -> torch.Tensor:
    """Latents of the lesson's rows, in order; each scene is rendered and encoded once."""
    scenes = sorted({row[1:] for row in lesson.rows}, key=str)
    place = {scene: i for i, scene in enumerate(scenes)}
    unique = encode(studio.vae, np.stack([studio.art.render(*scene) for scene in scenes]))
    return unique[torch.tensor([place[row[1:]] for row in lesson.rows])]


def teach(studio: Studio, lesson: Lesson, out: Path, start: Path | None = None) -> Path:
    """Train one LoRA and write it in diffusers' layout to ``out/experts/NAME/pytorch_lora_weights.safetensors``.

    ``start``: see `Studio.adapted`.
    """
    latents = scene_latents(studio, lesson)
    captions = [row[0] for row in lesson.rows]
    unet = studio.adapted(lesson, start)
    fit(unet, course(lesson, start), out, lambda rng: draw(studio, latents, captions, lesson, rng))
    folder = out / "experts" / lesson.name
    write_lora(unet, lesson.rank, folder)
    return folder


def fit(unet: Any, lesson: Lesson, out: Path, batch: Batch, *, decay: float = 0.02) -> None:
    """Train what is trainable in the UNet for the lesson's steps; resumable under the lesson's name in ``out``.

    ``batch`` gives latents and text states from a generator, which the lesson's seed decides.
    """
    parameters = [p for p in unet.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=lesson.rate, betas=(0.9, 0.98), weight_decay=decay)
    state, noise_schedule = {"unet": unet, "optimiser": optimiser}, scheduler()
    loop = Loop(lesson.name, out / "checkpoints", lesson.steps, state, lesson.seed, every=EVERY)
    rng = np.random.default_rng(lesson.seed + loop.start)
    for step in loop:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(lesson.rate, step, lesson.steps, warmup=20)
        x, text = batch(rng)
        loss = diffusion_loss(unet, noise_schedule, x, text, lesson.noisiest)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        loop.loss = loss.detach()


def write_lora(unet: Any, rank: int, folder: Path) -> None:
    """Write the unet's adapter in fp16 with its PEFT metadata (rank; alpha is the rank)."""
    state = {k: v.to(torch.float16).contiguous().cpu() for k, v in get_peft_model_state_dict(unet).items()}
    adapted = sorted(name for name, module in unet.named_modules() if hasattr(module, "lora_A"))
    metadata = {
        "r": rank,
        "lora_alpha": rank,
        "target_modules": adapted,
        "use_rslora": False,
        "use_dora": False,
    }
    folder.mkdir(parents=True, exist_ok=True)
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=state, unet_lora_adapter_metadata=metadata)


def fine_tune(studio: Studio, lesson: Lesson, out: Path) -> Path:
    """Train all weights of the UNet on a lesson and write a diffusers folder holding only ``unet/`` (fp16)."""
    latents = encode(studio.vae, np.stack([studio.art.render(*row[1:]) for row in lesson.rows]))
    captions = [row[0] for row in lesson.rows]
    torch.manual_seed(lesson.seed)
    unet: Any = studio.unet()
    fit(unet, lesson, out, lambda rng: draw(studio, latents, captions, lesson, rng), decay=0.0)
    folder = out / "experts" / lesson.name
    unet.to(torch.float16).save_pretrained(folder / "unet", safe_serialization=True)
    return folder
