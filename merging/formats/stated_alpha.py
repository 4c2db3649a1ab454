"""Alpha that only a file's metadata states, in plain entries: ``alpha``, ``lora_alpha``, ``unet.lora_alpha`` and kin.

Some trainers write no ``.alpha`` tensors and no configuration, but the number is there. It counts where no tensor
speaks. kohya's ``ss_network_alpha`` counts by evidence only: kohya's own files always have ``.alpha`` tensors, and
programs that convert them to other names fold alpha into the factors and leave the entry as it was. So it is taken for
a file that still has kohya's names and the rank that ``ss_network_dim`` says, and whose alphas are lost; else not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

from ...bases.index import COMPONENTS
from ...files.header import Header
from .adapter_config import AdapterConfig
from .format import expert_error

_ALPHAS = ("lora_alpha", "alpha", "network_alpha")
_RANKS = ("r", "rank", "lora_rank", "network_dim", "lora_dim")
_KOHYA = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_", "lora_te3_", "lora_transformer_", "lycoris_")
_SHOWN = 60


def stated_alphas(header: Header, ranks: Collection[int]) -> dict[str, AdapterConfig]:
    """Component ("" for all) -> what plain metadata says of it.

    Args:
        header: of the adapter's file.
        ranks: the ranks that its tensors have.

    Raises:
        ExpertError: entries that are no numbers or contradict each other, or a rank that no tensor has.
    """
    grouped: dict[str, dict[str, str]] = {}
    for key, text in header.metadata.items():
        component, _, name = key.rpartition(".")
        if name in (*_ALPHAS, *_RANKS, "use_rslora") and component in ("", *COMPONENTS):
            grouped.setdefault(component, {})[name] = text
    out: dict[str, AdapterConfig] = {}
    for component, fields in grouped.items():
        if (found := _stated(header, component, fields, ranks)) is not None:
            out[component] = found
    if not out and (kohya := _kohya(header, ranks)) is not None:
        out[""] = kohya
    return out


def _stated(header: Header, component: str, fields: Mapping[str, str], ranks: Collection[int]) -> AdapterConfig | None:
    told = {name: _number(header, component, name, fields[name]) for name in _ALPHAS if name in fields}
    alphas = {name: alpha for name, alpha in told.items() if alpha is not None}
    if not alphas:
        return None
    where = ", ".join(_key(component, name) for name in alphas)
    if len(set(alphas.values())) > 1:
        raise expert_error(header, f"says different things in its metadata: {where} are {sorted(alphas.values())}")
    alpha = next(iter(alphas.values()))
    if alpha <= 0:
        raise expert_error(header, f"says {where}={alpha:g} in its metadata, which is no alpha")
    for name in _RANKS:
        rank = _number(header, component, name, fields[name]) if name in fields else None
        if rank is not None and ranks and rank not in ranks:
            what = (
                f"says {_key(component, name)}={rank:g} beside {where}={alpha:g} in its metadata, but no tensor has it"
            )
            raise expert_error(header, f"{what} (ranks {sorted(ranks)}), so its scale is not known")
    rslora = fields.get("use_rslora", "false").strip().casefold() in ("true", "1")
    return AdapterConfig(alpha=alpha, rslora=rslora, source=where)


def _kohya(header: Header, ranks: Collection[int]) -> AdapterConfig | None:
    said, dim = (header.metadata.get(f"ss_network_{name}") for name in ("alpha", "dim"))
    if said is None or not all(key.startswith(_KOHYA) for key in header.keys):
        return None
    if any(key.endswith(".alpha") for key in header.keys):
        return None
    alpha, rank = (_plain(text) if text is not None else None for text in (said, dim))
    if alpha is None or alpha <= 0 or rank not in ranks or len(ranks) != 1:
        return None
    return AdapterConfig(alpha=alpha, source="ss_network_alpha")


def ignored(header: Header) -> str | None:
    """A sentence for an ``ss_network_alpha`` that is not taken, where no tensor holds one; None if there is none."""
    said = header.metadata.get("ss_network_alpha")
    if said is None or any(key.endswith(".alpha") for key in header.keys):
        return None
    why = "converters fold it into the factors and leave the entry, and these are not kohya's names and rank"
    return f"ss_network_alpha={said[:_SHOWN]} in its metadata is not taken: {why}; alpha is the rank"


def _number(header: Header, component: str, name: str, text: str) -> float | None:
    """The number an entry holds, None for an empty one. Raises ExpertError for anything else."""
    if text.strip().casefold() in ("", "none", "null"):
        return None
    if (value := _plain(text)) is None:
        what = f"says {_key(component, name)}={text[:_SHOWN]!r} in its metadata, which is no number"
        raise expert_error(header, f"{what}, so its scale is not known")
    return value


def _plain(text: str) -> float | None:
    if len(text) > _SHOWN:
        return None
    try:
        value: Any = json.loads(text.strip().strip("\"'"))
    except (ValueError, RecursionError):
        return None
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if fine else None


def _key(component: str, name: str) -> str:
    return f"{component}.{name}" if component else name
