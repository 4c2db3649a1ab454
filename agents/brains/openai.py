"""The brain ``openai:MODEL``: any server that speaks OpenAI's chat completions, of OpenAI or of one's own."""

from __future__ import annotations

import os

from langchain_core.language_models import BaseChatModel

from ...errors import UserError
from ...settings import Settings
from .brain import brain


@brain("openai")
def made(model: str, settings: Settings) -> BaseChatModel:
    """The brain for a model's name. Raises UserError without a name, or without a key or a server of one's own."""
    if not model:
        raise UserError(
            "DIFFGRAPH_BRAIN=openai needs a model: openai:gpt-5-mini, or the name your server gives its model."
        )
    key, url = os.environ.get("OPENAI_API_KEY"), os.environ.get("OPENAI_BASE_URL")
    if not key and not url:
        raise UserError(
            "The brain openai needs OPENAI_API_KEY, or OPENAI_BASE_URL of a server of your own; "
            "DIFFGRAPH_BRAIN=offline needs neither."
        )
    from ..completions.client import connected  # a second to import, which the offline brain need not wait for

    # A server of one's own often wants no key; the client insists on some text.
    return connected(model, key or "none", url, settings)
