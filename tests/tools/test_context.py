"""What a context takes from the base's profile, and what the settings put over it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from diffgraph.errors import UserError
from diffgraph.settings import Settings
from diffgraph.tools.context import Context, Machinery
from diffgraph.tools.register_experts import allowed_sources


@pytest.fixture
def opened(ctx: Context, make_settings: Callable[..., Settings]) -> Callable[..., Context]:
    """The open context with other settings."""

    def change(**changes: object) -> Context:
        settings = make_settings(**changes)
        return Context(settings, ctx.store, Machinery(settings))

    return change


def test_the_sampler_is_the_bases_unless_it_is_set(opened: Callable[..., Context]) -> None:
    own = opened(steps=None)
    assert [own.sampler(n).guidance for n in (0, 1, 2)] == [1.0, 1.0, 1.5]
    assert own.sampler().steps == 16
    said = opened(steps=9, guidance=3.25)
    assert (said.sampler(2).steps, said.sampler(2).guidance, said.sampler().guidance) == (9, 3.25, 3.25)
    assert opened(guidance=0.0).sampler().guidance == 0.0


def test_sources_are_the_bases_unless_they_are_set(opened: Callable[..., Context], shared_world: Path) -> None:
    own = opened()
    assert allowed_sources(own) == ["world"]
    assert [listing.repo for listing in own.source("world").list()] == ["blueprint", "emoji-base", "sea-life", "starry"]
    said = opened(sources=f" folder:{shared_world / 'hub'}, huggingface ")
    assert allowed_sources(said) == ["folder", "huggingface"]
    assert len(list(said.source("folder").list())) == 4
    # What was registered from the base's own source is still found there.
    assert len(list(said.source("world").list())) == 4
    with pytest.raises(UserError, match="'shelf'"):
        allowed_sources(opened(sources="shelf"))


def test_the_critic_is_the_bases_unless_it_is_set(opened: Callable[..., Context], shared_world: Path) -> None:
    own = opened()
    named = opened(critic=f"dual_encoder:{shared_world / 'scorers' / 'critic'}")
    assert own.critic is own.critic
    assert type(own.critic) is not type(named.critic)
    assert own.critic.identity == named.critic.identity
    with pytest.raises(UserError, match="DIFFGRAPH_CRITIC is none"):
        opened(critic="none").critic  # noqa: B018
    with pytest.raises(UserError, match="no critic 'dual_encode'; did you mean dual_encoder"):
        opened(critic="dual_encode").critic  # noqa: B018


def test_a_folder_is_a_base_with_its_own_values(opened: Callable[..., Context], shared_world: Path) -> None:
    """Nothing of the world comes along with a folder: no source, no shipped graph, no sampler."""
    found = opened(base=str(shared_world / "hub" / "emoji-base"), steps=None)
    assert found.machinery.base.ref == "folder:emoji-base"
    assert (found.sampler(3).steps, found.sampler(3).guidance) == (30, 7.0)
    assert allowed_sources(found) == []
    assert found.profile.graph is None
    assert found.reading.generic < opened().reading.generic
