"""The critic: file round trip, probabilities, verdicts, findings, embeddings."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffgraph.bases.profile import BaseProfile
from diffgraph.errors import UserError
from diffgraph.scoring import protocol
from diffgraph.scoring.critics.dual_encoder import Critic, EmbedText, to_pixels, write_critic
from diffgraph.scoring.critics.dual_encoder_net import CriticConfig, DualEncoder, TextProjection
from diffgraph.scoring.request import Wanted, harmonic_mean


def test_a_written_critic_sees_what_the_net_saw(critic_dir: Path, net: DualEncoder, images: list[Image.Image]) -> None:
    critic = Critic.load(critic_dir)
    pixels = to_pixels(images, net.config.size)
    with torch.no_grad():
        before = net.images(pixels)
        after = critic.net.images(pixels)
    for facet, vectors in before.items():
        assert torch.allclose(vectors, after[facet], atol=2e-2)


def test_a_verdict_is_the_harmonic_mean_of_its_facets(critic_dir: Path, images: list[Image.Image]) -> None:
    wanted = [
        Wanted(facet="subject", text="an octopus"),
        Wanted(facet="style", text="Blueprint style"),
        Wanted(facet="background", text="plain red background"),
    ]
    verdicts = Critic.load(critic_dir).score(images, wanted)
    assert len(verdicts) == len(images)
    for verdict in verdicts:
        assert list(verdict.facets) == [w.text for w in wanted]
        assert all(0 < p < 1 for p in verdict.facets.values())
        assert verdict.score == pytest.approx(harmonic_mean(verdict.facets.values()))


def test_a_verdict_says_what_is_seen_instead_and_who_judged(critic_dir: Path, images: list[Image.Image]) -> None:
    critic = Critic.load(critic_dir)
    critic.calibration = dict.fromkeys(critic.facets, (100.0, 0.0))  # its random weights are sure of nothing
    wanted = [Wanted(facet=facet, text=name) for facet, bank in critic.banks.items() for name in bank.names]
    told = 0
    for want in wanted:
        for image, verdict in zip(images, critic.score(images, [want]), strict=True):
            assert verdict.by == f"dual_encoder:{critic_dir.name}"
            likest = critic.sees(image, want.facet, 1)[0]
            if want.text not in verdict.seen:
                continue
            told += 1
            assert verdict.facets[want.text] < 0.5
            assert verdict.seen[want.text] == likest[0] != want.text
            assert any(repr(want.text) in f and f"looks like {likest[0]!r}" in f for f in verdict.findings)
    assert told
    assert Critic.load(critic_dir, by="somebody").score(images[:1], wanted[:1])[0].by == "somebody"


def test_images_are_judged_one_by_one(critic_dir: Path, images: list[Image.Image]) -> None:
    critic = Critic.load(critic_dir)
    wanted = [Wanted(facet="subject", text="cat")]
    together = [v.score for v in critic.score(images, wanted)]
    alone = [critic.score([i], wanted)[0].score for i in images]
    assert together == pytest.approx(alone, abs=1e-5)


def test_an_unknown_text_is_said_to_be_unknown_or_a_guess(
    critic_dir: Path, images: list[Image.Image], embed_text: EmbedText
) -> None:
    wanted = [Wanted(facet="subject", text="gryphon")]
    blind = Critic.load(critic_dir).score(images[:1], wanted)[0]
    assert blind.score == 0.0
    assert "does not know" in blind.findings[0]
    guessing = Critic.load(critic_dir, embed_text=embed_text).score(images[:1], wanted)[0]
    assert guessing.score > 0.0
    assert "guess" in guessing.findings[0]


def test_a_facet_without_a_head_is_not_counted(critic_dir: Path, images: list[Image.Image]) -> None:
    critic = Critic.load(critic_dir)
    both = critic.score(images[:1], [Wanted(facet="lighting", text="dusk"), Wanted(facet="subject", text="cat")])[0]
    assert list(both.facets) == ["cat"]
    assert "does not judge" in both.findings[0]
    none = critic.score(images[:1], [])[0]
    assert none.score == 0.0
    assert "Nothing" in none.findings[0]


def test_embeddings_are_unit_vectors_of_images_of_any_size(critic_dir: Path, images: list[Image.Image]) -> None:
    critic = Critic.load(critic_dir)
    vectors = critic.embed([*images, images[0].resize((128, 96))])
    assert vectors.shape == (4, 18)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4), abs=1e-4)
    assert critic.embed([]).shape == (0, 18)


def test_sees_names_the_likeliest_once(critic_dir: Path, images: list[Image.Image]) -> None:
    critic = Critic.load(critic_dir)
    seen = critic.sees(images[0], "subject")
    assert sorted(n for n, _ in seen) == ["cat", "octopus"]
    assert seen[0][1] >= seen[1][1]
    with pytest.raises(UserError, match="judges subject"):
        critic.sees(images[0], "mood")


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors"])
def test_a_damaged_critic_is_said_to_be_damaged(tmp_path: Path, critic_dir: Path, damage: str) -> None:
    for name in ("config.json", "model.safetensors"):
        whole = (critic_dir / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2] if name == damage else whole)
    with pytest.raises(UserError, match=f"critic in {re.escape(str(tmp_path))} cannot be read"):
        Critic.load(tmp_path)
    with pytest.raises(UserError, match="nowhere cannot be read"):
        Critic.load(tmp_path / "nowhere")


def test_a_folder_of_weights_is_a_critic_by_name(critic_dir: Path, tmp_path: Path, images: list[Image.Image]) -> None:
    setup = protocol.CriticSetup(BaseProfile(name="mine", where=str(tmp_path), ref="folder:mine"))
    made = protocol.make(f"dual_encoder:{critic_dir}", setup)
    assert isinstance(made, protocol.Critic)
    assert protocol.embedded(made, images) is not None
    assert made.fits(setup.base)
    assert made.identity == protocol.files_identity(critic_dir / n for n in ("config.json", "model.safetensors"))
    with pytest.raises(UserError, match="dual_encoder:FOLDER"):
        protocol.make("dual_encoder", setup)


def test_facets_and_size_are_the_networks_own(tmp_path: Path) -> None:
    """Another critic than the shipped one: two facets, 32 pixels, nothing that lies in what is where."""
    torch.manual_seed(0)
    sizes = {"widths": (4, 8, 8), "embed": 6, "text_dim": 8, "text_hidden": 8}
    for placed in ((), ("mood",)):
        config = CriticConfig(facets=("mood", "light"), placed=placed, size=32, **sizes)
        bank = {f: (["dark"], ["dark"], torch.ones(1, 8)) for f in config.facets}
        folder = tmp_path / str(len(placed))
        write_critic(folder, DualEncoder(config).eval(), bank, dict.fromkeys(config.facets, (1.0, 0.0)))
        critic = Critic.load(folder)
        assert critic.net.config == config
        verdict = critic.score([Image.new("RGB", (50, 70))], [Wanted(facet="mood", text="dark")])[0]
        assert 0 < verdict.facets["dark"] < 1
        assert critic.embed([Image.new("RGB", (8, 8))]).shape == (1, 12)


def test_a_sentence_dimension_that_never_varies_leaves_unknown_texts_finite_in_half_precision() -> None:
    config = CriticConfig(facets=("subject",), placed=("subject",), size=64)
    features = torch.randn(6, config.text_dim, generator=torch.Generator().manual_seed(0)) * 0.05
    features[:, 7] = 0.02
    projection = TextProjection(config)
    projection.fit(features)
    projection.load_state_dict({k: v.half().float() for k, v in projection.state_dict().items()})
    assert projection(features + 0.01).isfinite().all()
