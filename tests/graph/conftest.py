"""A hub of small but real repositories: cards as strangers write them, safetensors files, and every kind of decoy."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from diffgraph.graph.calibration.record import Calibration
from diffgraph.graph.experts.registration import register
from diffgraph.graph.relations.relation import Relation
from diffgraph.graph.store.graph_store import GraphStore
from diffgraph.world.source import World

COLOURS = ("white", "red", "orange", "yellow", "green", "blue", "purple", "pink", "gray", "black")
STYLES = {
    "blueprint": ("cyanotype", "technical drawing", "architect's plan"),
    "sunset duotone": ("sunset colours", "purple and orange duotone", "synthwave palette"),
    "neon": ("neon sign", "glowing outlines", "neon lights"),
    "pixel art": ("8-bit", "pixelated", "retro game sprite"),
    "halftone": ("comic dots", "newspaper print", "ben-day dots"),
    "pencil sketch": ("graphite drawing", "hand-drawn pencil", "sketched"),
    "line art": ("ink outline", "pen and ink", "ink drawing"),
    "pictogram": ("black and white icon", "stencil", "glyph"),
}
BACKGROUNDS = {
    "starry night": ("night sky", "stars", "star-filled sky"),
    "brick wall": ("bricks", "red bricks", "masonry"),
    "green meadow": ("grass field", "meadow", "flowery lawn"),
    "ocean waves": ("sea waves", "rolling waves", "the open sea"),
}
WEIGHTS = "pytorch_lora_weights.safetensors"


def bullet(trigger: str, aliases: tuple[str, ...] | list[str] = ()) -> str:
    return f"- {trigger}" + (f" (also: {', '.join(aliases)})" if aliases else "")


def card(title: str, bullets: list[str], *, tags: list[str], base: str | None = "emoji-base", **front: object) -> str:
    meta: dict[str, object] = {"license": "apache-2.0", "library_name": "diffusers", "tags": tags, **front}
    if base:
        meta["base_model"] = base
    head = yaml.safe_dump(meta, sort_keys=False, allow_unicode=True)
    return (
        f"---\n{head}---\n\n# {title}\n\nA small {title.lower()} expert.\n\n## Skills\n\n" + "\n".join(bullets) + "\n"
    )


def lora(seed: int, *, rank: int = 8, width: int = 192) -> dict[str, np.ndarray]:
    """A tiny adapter in the layout that diffusers saves."""
    rng = np.random.default_rng(seed)
    stem = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2"
    tensors: dict[str, np.ndarray] = {}
    for name in ("to_k", "to_v"):
        tensors[f"{stem}.{name}.lora_A.weight"] = rng.normal(size=(rank, width)).astype(np.float16)
        tensors[f"{stem}.{name}.lora_B.weight"] = rng.normal(size=(64, rank)).astype(np.float16)
    return tensors


def repository(folder: Path, text: str, tensors: dict[str, np.ndarray] | None, file: str = WEIGHTS) -> Path:
    """Write one repository."""
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(text, encoding="utf-8")
    if tensors is not None:
        save_file(tensors, folder / file, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def emoji() -> dict[str, dict[str, list[str]]]:
    return json.loads((Path(__file__).parent / "emoji.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, emoji: dict) -> Path:
    """The folder of a small world; its hub has 29 repositories."""
    root = tmp_path_factory.mktemp("world")
    hub = root / "hub"
    aliases = emoji["aliases"]

    def subjects(names: list[str]) -> list[str]:
        return [bullet(n, aliases.get(n, ())) for n in names]

    colours = [bullet(f"plain {c} background", (f"{c} background", f"{c} backdrop")) for c in COLOURS]
    unet = {"down_blocks.0.resnets.0.conv1.weight": np.zeros((4, 4, 3, 3), np.float16)}
    denoiser = "unet/diffusion_pytorch_model.safetensors"
    repository(
        hub / "emoji-base",
        card("Emoji base", [*subjects(emoji["base"]), *colours], tags=["base"], base=None),
        unet,
        denoiser,
    )
    seed = 0
    for pack, names in emoji["packs"].items():
        seed += 1
        widget = [{"text": n, "output": {"url": f"sample_{i}.png"}} for i, n in enumerate(names[:3])]
        text = card(pack, subjects(names), tags=["lora", "subject"], instance_prompt=names[0], widget=widget)
        repository(hub / pack, text, lora(seed))
    for style, names in STYLES.items():
        seed += 1
        text = card(f"{style} style", [bullet(f"{style} style", names)], tags=["lora", "style"])
        repository(hub / style.replace(" ", "-"), text, lora(seed, rank=16))
    for background, names in BACKGROUNDS.items():
        seed += 1
        text = card(background, [bullet(f"{background} background", names)], tags=["lora", "background"])
        repository(hub / background.replace(" ", "-"), text, lora(seed))
    fine = card("Emoji fine", [bullet("clay style", ("clay model",))], tags=["style"], base="emoji-base")
    repository(hub / "emoji-clay", fine, {k: v + 1 for k, v in unet.items()}, denoiser)
    _decoys(hub, emoji, subjects)
    return root


def _decoys(hub: Path, emoji: dict, subjects) -> None:
    sea, birds = emoji["packs"]["sea-life"], emoji["packs"]["birds"]
    copied = card("Ocean creatures v2", subjects(sea), tags=["lora", "subject"])
    repository(hub / "ocean-creatures-v2", copied, {k: v.copy() for k, v in lora(1).items()})
    (hub / "aquarium").mkdir()
    repository(hub / "aquarium", card("Aquarium", subjects(sea[:6]), tags=["lora"]), lora(1, rank=4))
    repository(hub / "birds-ultra-hd", card("Birds ultra HD", subjects(birds), tags=["lora"]), lora(77))
    glass = [bullet("stained glass style", ("church window", "leaded glass"))]
    repository(hub / "stained-glass", card("Stained glass style", glass, tags=["lora", "style"]), lora(78))
    paper = card("Papercut style", [bullet("papercut style", ("paper collage",))], tags=["lora", "style"])
    repository(hub / "papercut", paper, lora(79))
    foreign = card(
        "Watercolour", ["- watercolour style"], tags=["lora", "style"], base="stabilityai/stable-diffusion-xl-base-1.0"
    )
    repository(hub / "sdxl-watercolour", foreign, lora(80, width=2048))
    mislabelled = card("Woodcut", ["- woodcut style"], tags=["lora", "style"])
    repository(hub / "mislabelled-woodcut", mislabelled, lora(81, width=768))
    pickled = repository(hub / "dinosaurs-pickle", card("Dinosaurs", ["- stegosaurus"], tags=["lora"]), None)
    (pickled / "pytorch_lora_weights.bin").write_bytes(pickle.dumps({"note": "never opened"}))


VERDICTS = {
    "birds-ultra-hd": "no effect",
    "stained-glass": "does not do what the card says",
    "aquarium": "weak",
}
UNCALIBRATED = {"papercut", "emoji-clay", "emoji-base", "dinosaurs-pickle", "sdxl-watercolour", "mislabelled-woodcut"}


def calibrated_weight(repo: str) -> float:
    """A weight that differs by expert, so that mixing them up shows."""
    return 0.5 + (sum(map(ord, repo)) % 50) / 100


@pytest.fixture(scope="session")
def store(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraphStore]:
    """The world, registered and calibrated. Tests of this fixture only read it."""
    with GraphStore(tmp_path_factory.mktemp("graph")) as graph:
        fill(graph, world)
        yield graph


def fill(graph: GraphStore, world: Path) -> None:
    source = World(world)
    repos = [listing.repo for listing in source.list() if listing.repo != "dinosaurs-pickle"]
    experts = [expert for repo in repos for expert in register(source, repo)]
    graph.add_experts(experts)
    for expert in experts:
        repo = expert.ref.repo
        if repo not in UNCALIBRATED:
            graph.put_calibration(
                Calibration(
                    expert_id=expert.id,
                    expert_sha256=expert.sha256,
                    plan_context_hash="test",
                    best_weight=calibrated_weight(repo),
                    verdict=VERDICTS.get(repo, "works"),
                )
            )
    graph.put_relation(Relation(a="world/sea-life", b="world/ocean-creatures-v2", kind="duplicate", value=1.0))
