"""What people write into licence fields, as one SPDX-like id that `merging.plan.licence` knows."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ....merging.plan.licence import CONDITIONS, UNKNOWN, output_licence
from .plain import clean, is_nothing, texts

_CC = re.compile(r"\b(?:cc|creativecommons(?: org)? licenses?|creative commons)\b[ -](?P<rest>.{0,60})")
_CC_PARTS = ("by", "nc", "sa", "nd")
_WORDS = (
    ("noncommercial", "nc"), ("non commercial", "nc"), ("sharealike", "sa"), ("share alike", "sa"),
    ("no derivatives", "nd"), ("noderivatives", "nd"), ("noderivs", "nd"), ("attribution", "by"),
)  # fmt: skip
_NAMES: tuple[tuple[str, str], ...] = (
    (r"openrail ?\+\+|openrail ?pp|sdxl ?1 0|openrail\+\+", "openrail++"),
    (r"creativeml|open rail ?m\b|openrail ?m\b", "creativeml-openrail-m"),
    (r"^(the )?open ?rail( license)?$", "openrail"),
    (r"flux( ?1)?( ?dev)? non ?commercial|flux 1 dev|^flux dev", "flux-1-dev-non-commercial-license"),
    (r"fair ai|faipl", "faipl-1.0-sd"),
    (r"^(the )?apache( ?2( ?0)?)?( license( 2 0)?| license version 2 0)?$|^apache license", "apache-2.0"),
    (r"^(the )?mit( license)?$", "mit"),
    (r"cc ?0|cc zero|public domain", "cc0-1.0"),
    (r"^(the )?unlicense$", "unlicense"),
    (r"agpl( v?3)?", "agpl-3.0"),
    (r"lgpl( v?3)?", "lgpl-3.0"),
    (r"gpl ?v?2", "gpl-2.0"),
    (r"gpl( ?v?3)?", "gpl-3.0"),
)
_KNOWN = tuple((re.compile(pattern), name) for pattern, name in _NAMES)


def one_licence(value: object, name: object = None) -> str:
    """A card's licence field (a string, or a list of which all hold) as one id; ``unknown`` if it says none.

    Args:
        value: the field.
        name: the field beside it that names what ``other`` is.
    """
    listed = [one.casefold() for one in texts(value, 200, 8)]
    listed = [(clean(name, 200).casefold() or one) if one == "other" else one for one in listed]
    found = tuple(dict.fromkeys(one for one in map(_normal, listed) if one))
    if len(found) < 2:
        return found[0] if found else UNKNOWN
    known = [one for one in found if one in CONDITIONS]
    if len(known) < len(found):
        return next(one for one in found if one not in CONDITIONS)  # what is not known may ask anything
    return output_licence({one: one for one in found}).id


def of_flags(flags: Mapping[str, object]) -> str:
    """The licence that Civitai's flags describe, as ``civitai-by-nc-nd-sa`` with the parts that hold; empty if there
    are none.
    """
    names = ("allowNoCredit", "allowCommercialUse", "allowDerivatives", "allowDifferentLicense")
    said = {name: flags[name] for name in names if flags.get(name) is not None}
    if not said:
        return ""
    uses = {
        one.strip(" {}").casefold()
        for text in texts(said.get("allowCommercialUse", "Image"))
        for one in text.split(",")
    }
    parts = [
        ("by", said.get("allowNoCredit", True) is False),
        ("nc", not uses & {"image", "rent", "rentcivit", "sell"}),
        ("nd", said.get("allowDerivatives", True) is False),
        ("sa", said.get("allowDifferentLicense", True) is False),
    ]
    return "-".join(["civitai", *(part for part, holds in parts if holds)])


def _normal(text: str) -> str:
    if text in CONDITIONS or is_nothing(text):
        return "" if is_nothing(text) else text
    words = re.sub(r"[^a-z0-9+]+", " ", text).strip()
    if (found := _CC.search(words)) is not None and not words.startswith("cc0"):
        return _creative_commons(found["rest"]) or text
    return next((name for pattern, name in _KNOWN if pattern.search(words)), text)


def _creative_commons(rest: str) -> str:
    for word, part in _WORDS:
        rest = rest.replace(word, part)
    parts = [part for part in _CC_PARTS if part in rest.split()]
    if not parts:
        return "cc0-1.0" if "zero" in rest or rest.startswith("0") else ""
    version = re.search(r"\b([234]) 0\b", rest)
    order = [part for part in ("by", "nc", "nd", "sa") if part in {*parts, "by"}]
    made = f"cc-{'-'.join(order)}-{version[1] if version else '4'}.0"
    return made if made in CONDITIONS else f"cc-{'-'.join(order)}-4.0"
