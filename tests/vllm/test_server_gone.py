"""A server that goes away. It stands last: the server of this session is ended here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from diffgraph_vllm import served, tiny_vlm

from diffgraph.bases.profile import BaseProfile
from diffgraph.errors import ExternalError
from diffgraph.scoring import protocol

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(served.LONG)]


def test_a_server_that_is_gone_is_a_sentence_and_kept_answers_stay(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRAPH_CRITIC_URL", server.url)
    monkeypatch.setenv("DIFFGRAPH_CRITIC_RETRIES", "0")
    setup = protocol.CriticSetup(BaseProfile(name="any", ref="any", where="any"), home=tmp_path)
    image, (atom, other, *_) = tiny_vlm.noise(3), tiny_vlm.atoms()
    before = protocol.make(f"vlm:openai:{served.NAME}", setup).raw([image], [atom])
    server.stop()
    critic = protocol.make(f"vlm:openai:{served.NAME}", setup)
    assert (critic.raw([image], [atom]) == before).all()
    with pytest.raises(ExternalError, match=r"at 127\.0\.0\.1:\d+ cannot be reached .*Is it running\?"):
        critic.raw([image], [other])
