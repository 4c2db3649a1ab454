"""Licences as people write them, as one id whose conditions are known."""

from __future__ import annotations

import pytest

from diffgraph.graph.experts.words.licences import of_flags, one_licence
from diffgraph.merging.plan.licence import CONDITIONS, output_licence


@pytest.mark.parametrize(
    ("said", "licence"),
    [
        ("mit", "mit"),
        ("MIT License", "mit"),
        ("Apache 2.0", "apache-2.0"),
        ("apache license, version 2.0", "apache-2.0"),
        ("CreativeML Open RAIL-M", "creativeml-openrail-m"),
        ("CC BY-NC 4.0", "cc-by-nc-4.0"),
        ("https://creativecommons.org/licenses/by-nc-sa/4.0/", "cc-by-nc-sa-4.0"),
        ("Creative Commons Attribution-NonCommercial-NoDerivs 4.0", "cc-by-nc-nd-4.0"),
        ("CC0", "cc0-1.0"),
        (["mit", "cc-by-nc-4.0"], "cc-by-nc-4.0"),
        (["cc-by-sa-4.0", "cc-by-nc-4.0"], "cc-by-nc-4.0 AND cc-by-sa-4.0"),
        (["mit", "my own terms"], "my own terms"),
        ("other", "other"),
        (None, "unknown"),
        ("none", "unknown"),
        ([], "unknown"),
        ({"a": 1}, "unknown"),
    ],
)
def test_fields_of_cards(said: object, licence: str) -> None:
    assert one_licence(said) == licence


def test_what_other_is() -> None:
    assert one_licence("other", "flux-1-dev-non-commercial-license") == "flux-1-dev-non-commercial-license"


@pytest.mark.parametrize(
    ("flags", "licence", "asked"),
    [
        ({"allowNoCredit": True, "allowCommercialUse": ["Sell"], "allowDerivatives": True}, "civitai", set()),
        ({"allowNoCredit": False, "allowCommercialUse": "Image"}, "civitai-by", {"attribution"}),
        ({"allowCommercialUse": "None"}, "civitai-nc", {"non-commercial"}),
        ({"allowCommercialUse": []}, "civitai-nc", {"non-commercial"}),
        ({"allowCommercialUse": ["{Image,Rent}"]}, "civitai", set()),
        (
            {"allowNoCredit": False, "allowCommercialUse": "None", "allowDerivatives": False,
             "allowDifferentLicense": False},
            "civitai-by-nc-nd-sa",
            {"attribution", "non-commercial", "no derivatives", "share-alike"},
        ),
    ],
)  # fmt: skip
def test_flags_of_civitai(flags: dict[str, object], licence: str, asked: set[str]) -> None:
    assert of_flags(flags) == licence
    assert CONDITIONS[licence] == asked


def test_no_flags_say_nothing() -> None:
    assert of_flags({"name": "x"}) == ""


def test_the_strictest_goes_into_a_merge() -> None:
    found = output_licence({"base": "mit", "a": "civitai-nc", "b": "mit AND apache-2.0"})
    assert "non-commercial" in found.conditions
    assert not found.unknown
    assert "no derivatives" in output_licence({"a": "civitai-nd"}).conditions
