"""The Civitai source against a server on loopback that speaks its interface; the client is the real one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from diffgraph.errors import AccessDenied, Busy, ExpertError, ExternalError, Unreachable, UserError
from diffgraph.graph.experts.expert import SourceRef
from diffgraph.graph.experts.registration import register
from diffgraph.graph.experts.sources import FileSums, Paged, Search, Speaking
from diffgraph.graph.experts.sources.civitai import Civitai as Source

from .loopback_civitai import Civitai
from .loopback_hub import big_lora, lora


@pytest.fixture(autouse=True)
def _storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFGRAPH_CIVITAI_STORAGE", "localhost")


@pytest.fixture
def source(civitai: Civitai, tmp_path: Path) -> Source:
    return Source(host=civitai.url, cache_dir=tmp_path / "kept")


def of_version(civitai: Civitai, identity: int) -> dict[str, Any]:
    found: dict[str, Any] = civitai.models[identity]["modelVersions"][0]
    return found


def test_what_a_page_says_is_registered_without_a_download(civitai: Civitai, source: Source) -> None:
    assert isinstance(source, Paged)
    assert isinstance(source, Speaking)
    (expert,) = register(source, "1")
    assert expert.id == "civitai/pixel-fox-1-10"
    assert str(expert.ref) == "civitai:1@10:lora_1.safetensors"
    assert (expert.kind, expert.base_family, expert.rank) == ("lora", "sd15", 1)
    assert expert.triggers == (("pixfox", "pixel art"),)
    assert (expert.licence, expert.base_model, expert.popularity) == ("civitai-by", "SD 1.5", 21)
    assert (expert.title, expert.origin, expert.created) == ("Pixel Fox 1", "civitai:1@10", "2024-05-06")
    assert expert.sha256 == hashlib.sha256(lora(1)).hexdigest()
    assert expert.size_bytes == len(lora(1)), "Civitai counts in kilobytes; the range says the true length"
    assert expert.warnings == ()
    path = source.fetch(expert.ref)
    assert path.read_bytes() == lora(1)


@pytest.mark.parametrize(
    "name", ["1@10", "@10", "https://civitai.com/models/1/pixel-fox?modelVersionId=10", "https://civitai.red/models/1"]
)
def test_a_model_is_named_in_several_ways(source: Source, name: str) -> None:
    assert register(source, name)[0].ref.revision == "10"


@pytest.mark.parametrize("name", ["fox", "", "1@x", "../1", "1/../../2", "9" * 40])
def test_what_is_no_name_is_a_sentence(source: Source, name: str) -> None:
    with pytest.raises(UserError):
        register(source, name)


def test_a_version_that_its_model_does_not_show(civitai: Civitai, source: Source) -> None:
    civitai.hidden.add(1)
    with pytest.raises(UserError, match="not found"):
        source.info("1")
    assert source.info("1@10").revision == "10"
    with pytest.raises(UserError, match="is of model 1"):
        source.info("2@10")


def test_the_token_is_a_header_and_stays_with_the_host(
    civitai: Civitai, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRAPH_CIVITAI_TOKEN", "secret-key")
    monkeypatch.setenv("DIFFGRAPH_CIVITAI_HOST", civitai.url)
    source = Source(cache_dir=tmp_path / "kept")
    (expert,) = register(source, "1")
    source.fetch(expert.ref)
    assert civitai.tokens == {"Bearer secret-key"}
    assert civitai.storage.tokens == set()
    assert not any("secret" in line or "token=" in line for line in civitai.asked())
    kept = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert not any(b"secret-key" in path.read_bytes() for path in kept)


def test_a_list_is_read_to_its_end_over_empty_pages(civitai: Civitai, source: Source) -> None:
    for number in range(4, 11):
        civitai.add(number, lora(number % 4 + 1))
    civitai.page, civitai.empty_pages, civitai.repeats = 3, 3, True
    repos = [one.repo for page in source.pages(Search()) for one in page.listings]
    assert set(repos) == {str(n) for n in range(1, 11)}
    assert len(repos) > 10, "the server repeats some; whoever scouts passes over these"


def test_a_cursor_that_leads_in_a_circle_ends(civitai: Civitai, source: Source) -> None:
    civitai.bodies["/api/v1/models"] = json.dumps(
        {"items": [civitai.models[1]], "metadata": {"nextCursor": "again"}}
    ).encode()
    assert len(list(source.pages(Search()))) == 2


def test_what_is_asked_for(civitai: Civitai, source: Source) -> None:
    civitai.add(7, lora(2), type="Checkpoint")
    civitai.add(8, lora(2), nsfwLevel=28, nsfw=True)
    civitai.add(9, lora(2), version={"baseModel": "Pony"})
    assert [x.repo for x in source.list("fox 2")] == ["2"]
    assert {x.repo for x in source.list()} == {"1", "2", "3", "8", "9"}, "nothing vanishes without a word"
    assert [x.repo for p in source.pages(Search(kinds=("Checkpoint",))) for x in p.listings] == ["7"]
    civitai.asked()
    assert [x.repo for p in source.pages(Search(base="Pony")) for x in p.listings] == ["9"]
    (line,) = [line for line in civitai.asked() if "/models?" in line]
    assert "baseModels=Pony" in line
    assert "nsfw=true" in line
    assert [x.repo for p in source.pages(Search(base="sdxl")) for x in p.listings] == ["9"]
    assert "baseModels=SDXL+1.0&baseModels=Pony&baseModels=Illustrious" in civitai.asked()[-1]
    with pytest.raises(UserError, match="SDXL"):
        list(source.pages(Search(base="no such base")))
    (off,) = register(source, "8")
    assert (off.nsfw, off.off) == (True, True)


def test_the_version_for_the_base_is_taken(civitai: Civitai, source: Source) -> None:
    civitai.models[1]["modelVersions"].append({**of_version(civitai, 1), "id": 11, "baseModel": "Pony"})
    (page,) = source.pages(Search(base="Pony"))
    assert [(x.repo, x.revision) for x in page.listings] == [("1", "11")]
    assert source.info("1").revision == "11"


def test_models_without_versions_are_told(civitai: Civitai, source: Source) -> None:
    civitai.models[1]["modelVersions"] = []
    assert next(iter(source.list())).outside == "it has no published version"
    with pytest.raises(UserError, match="no published version"):
        source.info("1")


@pytest.mark.parametrize("key", ["pickleScanResult", "virusScanResult"])
@pytest.mark.parametrize("result", ["Danger", "Pending", "Error"])
def test_what_no_scan_passed_is_refused(civitai: Civitai, source: Source, key: str, result: str) -> None:
    of_version(civitai, 1)["files"][0][key] = result
    with pytest.raises(ExpertError, match=f"scan .* says {result}"):
        register(source, "1")
    with pytest.raises(ExpertError, match=result):
        source.fetch(SourceRef(source="civitai", repo="1", revision="10", file="lora_1.safetensors"))


def test_the_right_file_of_several(civitai: Civitai, source: Source) -> None:
    files = of_version(civitai, 1)["files"]
    files.insert(0, {**files[0], "name": "old.pt", "primary": True})
    files.insert(0, {**files[1], "name": "train.zip", "type": "Training Data"})
    assert register(source, "1")[0].ref.file == "lora_1.safetensors"
    of_version(civitai, 2)["files"] = [{**files[-1], "name": "old.pt"}]
    with pytest.raises(ExpertError, match="only pickles"):
        register(source, "2")
    of_version(civitai, 3)["files"] = []
    with pytest.raises(ExpertError, match=r"no \.safetensors"):
        register(source, "3")


DEADLINE = json.dumps({"error": "Early Access", "deadline": "2030-01-02T03:04:05.000Z"}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (401, b'{"error": "Unauthorized"}', UserError, "DIFFGRAPH_CIVITAI_TOKEN"),
        (403, DEADLINE, UserError, "early access until 2030-01-02"),
        (403, b'{"error": "Forbidden by owner"}', UserError, "Forbidden by owner"),
        (404, b"{}", UserError, "perhaps later"),
        (410, b'{"error": "archived"}', UserError, "archived"),
        (429, b"quota", Busy, "limits the rate"),
        (503, b"<html>", Busy, "503"),
        (500, b"x" * 100_000, ExternalError, "500"),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/models/1", "/api/download"])
def test_errors_are_sentences(
    civitai: Civitai, source: Source, status: int, body: bytes, kind: type[Exception], said: str, path: str
) -> None:
    civitai.status[path] = (status, {"Retry-After": "2"}, body)
    with pytest.raises(kind, match=said) as caught:
        register(source, "1")
    assert len(str(caught.value)) < 500
    if isinstance(caught.value, Busy):
        assert caught.value.retry_after == 2


def test_a_login_page_and_a_bad_token(civitai: Civitai, source: Source, tmp_path: Path) -> None:
    civitai.status["/api/download"] = (302, {"Location": "/login?returnUrl=/x"}, b"")
    with pytest.raises(UserError, match="logged in"):
        register(source, "1")
    civitai.status = {"/api/v1": (401, {}, b"{}")}
    with pytest.raises(AccessDenied, match="refuses the token"):
        register(Source(host=civitai.url, token="wrong", cache_dir=tmp_path), "1")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "Too slow"}}', "Too slow"),
        (b"null", "null"),
        (b"<!DOCTYPE html>", "web page"),
        (b"[]", "something else"),
        (b'{"items": null}', "something else"),
        (b"\xff", "no JSON"),
    ],
)
def test_a_list_that_is_none_is_a_sentence(civitai: Civitai, source: Source, body: bytes, said: str) -> None:
    civitai.bodies["/api/v1/models"] = body
    with pytest.raises(ExternalError, match=said):
        list(source.list())


def test_rows_of_another_shape_are_passed_over(civitai: Civitai, source: Source) -> None:
    odd: list[Any] = [None, 7, {}, {"id": "x"}, {"id": 5, "modelVersions": [None, {"id": None}], "tags": [None, 3]}]
    civitai.bodies["/api/v1/models"] = json.dumps({"items": [*odd, civitai.models[1]]}).encode()
    assert [(x.repo, bool(x.outside)) for x in source.list()] == [("5", True), ("1", False)]


def test_a_download_goes_on_where_it_broke_off(civitai: Civitai, source: Source, tmp_path: Path) -> None:
    data = big_lora()
    civitai.add(5, data)
    (expert,) = register(source, "5")
    storage = civitai.storage
    storage.cut_after = len(data) // 3
    storage.ranges.clear()
    assert source.fetch(expert.ref).read_bytes() == data
    assert storage.ranges == ["", f"bytes={len(data) // 3}-"]
    again = Source(host=civitai.url, cache_dir=tmp_path / "kept")
    civitai.asked()
    assert again.fetch(expert.ref).read_bytes() == data
    assert again.header(expert.ref).size_bytes == len(data)
    assert civitai.asked() == [], "what is here needs nobody"
    again.fetch(expert.ref).write_bytes(b"damaged")
    assert again.fetch(expert.ref).read_bytes() == data


def test_other_bytes_than_stated_are_not_kept(civitai: Civitai, source: Source) -> None:
    (expert,) = register(source, "1")
    civitai.storage.files["10"] = lora(1)[:-1] + b"\x07"
    with pytest.raises(ExternalError, match="sha256"):
        source.fetch(expert.ref)
    civitai.storage.files["10"] = lora(1)
    assert source.fetch(expert.ref).read_bytes() == lora(1)


def test_files_are_bounded_and_names_name_no_path(civitai: Civitai, tmp_path: Path) -> None:
    of_version(civitai, 1)["files"][0]["name"] = "../../../evil.safetensors"
    source = Source(host=civitai.url, cache_dir=tmp_path / "kept", max_file_bytes=100)
    (expert,) = register(source, "1")
    assert expert.ref.file == "evil.safetensors"
    with pytest.raises(UserError, match="allowed"):
        source.fetch(expert.ref)
    large = Source(host=civitai.url, cache_dir=tmp_path / "kept")
    assert large.fetch(expert.ref).is_relative_to(tmp_path / "kept")
    with pytest.raises(UserError):
        large.fetch(SourceRef(source="civitai", repo="..", revision="..", file="a.safetensors"))


def test_strangers_storage_is_not_followed(civitai: Civitai, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIFFGRAPH_CIVITAI_STORAGE")
    with pytest.raises(ExternalError, match=r"localhost.*DIFFGRAPH_CIVITAI_STORAGE"):
        register(Source(host=civitai.url, cache_dir=tmp_path), "1")
    with pytest.raises(UserError, match="no address"):
        Source(host="civitai")
    with pytest.raises(Unreachable, match="network"):
        list(Source(host="http://127.0.0.1:9", cache_dir=tmp_path).list())


def test_pictures_give_examples_and_a_weight(civitai: Civitai, source: Source) -> None:
    def picture(prompt: str, weight: float, level: object = 1, **meta: Any) -> dict[str, Any]:
        used = [{"type": "lora", "weight": weight, "modelVersionId": 10}]
        return {"nsfwLevel": level, "meta": {"prompt": prompt, "civitaiResources": used, **meta}}

    named = [{"type": "lora", "name": "LORA_1", "weight": 0.7}]
    civitai.images[10] = [
        picture("a fox", 0.6),
        picture("a cat", 0.8, "X"),
        {"nsfwLevel": "None", "meta": {"prompt": "a dog", "resources": named}},
        {"nsfwLevel": 1, "meta": {"prompt": "a cow <lora:lora_1:0.9>"}},
        {"nsfwLevel": 1, "meta": None},
        {"meta": {"prompt": "p" * 5_000, "civitaiResources": [None, {"weight": "x", "modelVersionId": 10}]}},
    ]
    (expert,) = register(source, "1")
    assert expert.weight == 0.75
    assert [text[:20] for text in expert.examples] == ["a fox", "a dog", "a cow", "p" * 20]
    assert max(map(len, expert.examples)) <= 300
    of_version(civitai, 2)["settings"] = {"strength": 0.4}
    civitai.images[20] = [{"meta": {"civitaiResources": [{"weight": 1.0, "modelVersionId": 20}]}}]
    assert register(source, "2")[0].weight == 0.4, "the author's word goes before"
    civitai.status["/api/v1/images"] = (500, {}, b"")
    assert register(source, "3")[0].weight is None, "no pictures, no harm"


def test_files_are_known_by_their_sums(civitai: Civitai, source: Source) -> None:
    data = lora(1)
    whole, payload = hashlib.sha256(data).hexdigest(), hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :])
    rewritten = FileSums(sha256="a" * 64, payload=payload.hexdigest())
    claims = FileSums(sha256="b" * 64, claimed=(payload.hexdigest(),))
    nothing = FileSums(
        sha256="c" * 64, claimed=(hashlib.sha256(b"").hexdigest(),), payload=hashlib.sha256(b"").hexdigest()
    )
    files = [FileSums(sha256=whole), rewritten, claims, nothing]
    found = dict(source.published(files))
    assert [found[one] is not None for one in files] == [True, True, True, False]
    said = found[files[0]]
    assert said is not None
    assert (said.licence, said.origin, said.tags) == ("civitai-by", "civitai:1@10", ("animal", "style"))
    assert not any("e3b0c44298fc" in line.casefold() for line in civitai.asked())
    many = [FileSums(sha256=f"{n:064x}") for n in range(205)]
    list(source.published(many))
    assert len([line for line in civitai.asked() if line.startswith("POST")]) == 3, "a hundred at a time"


def test_a_file_whose_model_is_not_there_is_known_all_the_same(civitai: Civitai, source: Source) -> None:
    civitai.status["/api/v1/models"] = (404, {}, b"{}")
    civitai.status["/api/v1/model-versions/10"] = (404, {}, b"{}")
    ((_, said),) = source.published([FileSums(sha256=hashlib.sha256(lora(1)).hexdigest())])
    assert said is not None
    assert (said.triggers, said.licence) == ((("pixfox", "pixel art"),), "")


def test_registration_costs_few_bytes(civitai: Civitai, source: Source) -> None:
    data = big_lora()
    civitai.add(5, data)
    civitai.sent = civitai.storage.sent = 0
    (expert,) = register(source, "5")
    assert expert.rank == 2
    assert civitai.sent + civitai.storage.sent < 200_000 < len(data)
