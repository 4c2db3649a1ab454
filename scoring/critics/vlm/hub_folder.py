"""A model's folder on the Hugging Face Hub: configs, tokenizer and .safetensors, through the Hub's own client."""

from __future__ import annotations

import os
from pathlib import Path

from ....bases.hub_errors import TIMEOUT, HubErrors

_WANTED = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]


def fetch(repo: str, revision: str) -> Path:
    """The folder in the Hub client's cache; what is not there is downloaded, and without a network it is as it is.

    Args:
        repo: "owner/name".
        revision: a branch, tag or commit; "" for the default branch.

    Raises:
        UserError: no such repository, it is gated, or it is not here and HF_HUB_OFFLINE is set.
        ExternalError: the Hub fails or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    with HubErrors(endpoint).errors(repo):
        found = snapshot_download(
            repo, revision=revision or None, allow_patterns=_WANTED, endpoint=endpoint, etag_timeout=TIMEOUT
        )
    return Path(found)
