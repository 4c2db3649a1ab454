"""The world's vision-language model: labels of made images, lessons, and that it is asked as it was taught."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from diffgraph.scoring.critics.vlm.local_model import LocalModel
from diffgraph.world.critic import FACETS
from diffgraph.world.recipe import made_images, vlm_eye, vlm_parts
from diffgraph.world.recipe.made_images import ABSENT, SHOWN, UNSAID, Group
from diffgraph.world.recipe.made_lessons import NOBODY, MadeLessons, labels_of, pixels
from diffgraph.world.recipe.made_lessons import UNSAID as UNKNOWN
from diffgraph.world.recipe.scorer_pool import Classes
from diffgraph.world.recipe.vlm_lessons import QUESTIONS, ROOM, Teacher, corpus
from diffgraph.world.recipe.vlm_net import loss_of, no_asked

NAMES = {
    "subject": ["octopus", "owl", "bus", "peach"],
    "style": ["house", "neon", "line art"],
    "background": ["plain white", "starry night"],
}


def _group(**changes: Any) -> Group:
    plain: dict[str, Any] = {
        "pack": "birds", "subjects": ("owl",), "style": "neon", "background": "starry night", "missing": "",
        "weights": (1.0, 1.0, 1.0), "seed": 3,
    }  # fmt: skip
    return Group(**(plain | changes))


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ({}, (UNSAID, SHOWN, SHOWN)),
        ({"style": ""}, (SHOWN, UNSAID, SHOWN)),
        ({"background": "", "style": ""}, (SHOWN, UNSAID, UNSAID)),
        ({"missing": "subject"}, (ABSENT, SHOWN, SHOWN)),
        ({"missing": "style"}, (SHOWN, ABSENT, SHOWN)),
        ({"missing": "background"}, (SHOWN, SHOWN, ABSENT)),
    ],
)
def test_what_was_left_out_is_absent_and_two_looks_leave_the_subject_open(
    changes: dict[str, Any], labels: tuple[int, int, int]
) -> None:
    assert _group(**changes).labels == labels


def test_no_group_holds_a_combination_of_a_suite() -> None:
    held = made_images.suites_hold()
    some = made_images.groups(300, seed=5)
    assert held
    assert not {(s, g.style, g.background) for g in some for s in g.subjects} & held
    for group in some:
        faint = dict(zip(FACETS, group.weights, strict=True))
        assert not group.missing or faint[group.missing] <= made_images.FAINT
        assert all(faint[f] > 0.8 for f in FACETS if f != group.missing)


def test_a_subject_comes_through_soft_looks_and_drowns_in_loud_ones() -> None:
    held = made_images.suites_hold()
    some = made_images.drowned(20, seed=5)
    assert [g.looks for g in some] == ["soft", "loud"] * 10
    assert not {(s, g.style, g.background) for g in some for s in g.subjects} & held
    for group in some:
        subject, *looks = group.weights
        assert 0.85 <= subject <= 1.15
        low, high = made_images.LOUD if group.looks == "loud" else made_images.SOFT
        assert all(low <= weight <= high for weight in looks)
        assert group.labels == (ABSENT if group.looks == "loud" else SHOWN, UNSAID, UNSAID)


def test_the_last_images_of_each_list_are_held_back() -> None:
    kinds = torch.tensor([0] * 50 + [1] * 25)
    made = made_images.Made(
        torch.arange(75).to(torch.uint8)[:, None, None, None].expand(75, 64, 64, 3).contiguous(),
        [(str(i), "", "") for i in range(75)],
        torch.zeros(75, 3, dtype=torch.int8),
        kinds,
    )
    lessons = MadeLessons(made, np.zeros((75, 3), np.int64))
    _, asked, _ = lessons.held_back()
    assert [int(text) for text, _, _ in asked] == [*range(44, 50), *range(72, 75)]
    torch.manual_seed(0)
    x, _, drawn = lessons.draw(400)
    assert not {text for text, _, _ in drawn} & {text for text, _, _ in asked}
    assert sum(int(text) >= 50 for text, _, _ in drawn) == 200, "as many of each list"
    assert all(round(float((one[0, 0, 0] + 1) * 127.5)) == int(a[0]) for one, a in zip(x, drawn, strict=True))


def test_labels_are_classes_nobody_or_unknown() -> None:
    classes = Classes(NAMES["subject"], NAMES["style"], NAMES["background"], {})
    asked = [("owl", "neon", "starry night"), ("bus", "", "starry night")]
    made = made_images.Made(
        torch.zeros(2, 64, 64, 3, dtype=torch.uint8),
        asked,
        torch.tensor([[ABSENT, SHOWN, SHOWN], [SHOWN, UNSAID, ABSENT]]),
        torch.zeros(2),
    )
    rows = labels_of(made, classes)
    assert rows.tolist() == [[NOBODY, 1, 1], [2, 0, NOBODY]]
    assert no_asked(rows[0], asked[0]) == ("owl", "", "")
    assert no_asked(rows[1], asked[1]) == ("", "", "starry night")


class _Bank:
    """A facet's texts, each true of its own class; vectors at random, since only who is near whom is read."""

    def __init__(self, names: list[str]) -> None:
        self.texts = names
        self.truth = torch.eye(len(names), dtype=torch.bool)
        self.own = torch.arange(len(names))
        self.choices = [torch.tensor([i]) for i in range(len(names))]
        self.features = torch.nn.functional.normalize(torch.randn(max(40, len(names)), 8), dim=1)[: len(names)]


@pytest.fixture
def teacher(monkeypatch: pytest.MonkeyPatch) -> Teacher:
    torch.manual_seed(0)
    subjects = [*NAMES["subject"], *(f"thing {i}" for i in range(40))]
    banks: Any = {f: _Bank(subjects if f == "subject" else NAMES[f]) for f in FACETS}
    alike = torch.stack([torch.eye(2, dtype=torch.bool)] * 3)
    words = vlm_parts.tokenizer(corpus(banks, ["walrus"]))
    return Teacher(words, banks, alike, ["walrus"], seed=1)


def test_answers_stand_where_they_are_asked_and_are_true(teacher: Teacher) -> None:
    labels = np.array([[0, 1, 1], [NOBODY, 2, 0], [UNKNOWN, UNKNOWN, NOBODY]] * 20)
    asked = [("", "", ""), ("owl", "", ""), ("", "", "starry night")] * 20
    packed = teacher.packed(labels, asked)
    start = len(teacher.prefix)
    kinds = set()
    for row, label in enumerate(labels):
        for at in (packed.yes[row] >= 0).nonzero()[:, 0].tolist():
            first = start + (at - start) // ROOM * ROOM
            text = teacher.words.decode(packed.ids[row, first : at + 1])
            mine = [NAMES[f][i] for f, i in zip(FACETS, label, strict=True) if i >= 0 and NAMES[f][i] != "house"]
            shown = any(f" {name}?" in text or f" {name} style?" in text for name in mine)
            assert bool(packed.yes[row, at]) == shown, text
            assert int(packed.ids[row, at + 1]) == (teacher.yes if shown else teacher.no)
            kinds.add((tuple(label), shown))
    assert (tuple(labels[0]), True) in kinds
    assert (tuple(labels[1]), False) in kinds
    assert not any(shown and label[0] == UNKNOWN for label, shown in kinds)


def test_a_question_sees_the_image_and_itself_alone(teacher: Teacher) -> None:
    packed = teacher.packed(np.array([[0, 1, 1]]), [("", "", "")])
    mask, start = packed.mask[0, 0], len(teacher.prefix)
    assert mask.shape[0] == start + QUESTIONS * ROOM
    second = start + ROOM
    assert mask[second, :start].all()
    assert not mask[second, start:second].any()
    assert not mask[:start, start:].any()
    assert packed.positions[0, second] == start


def test_the_saved_model_is_asked_as_it_was_taught(teacher: Teacher, tmp_path: Path) -> None:
    torch.manual_seed(2)
    net = vlm_parts.model(teacher.words, eye=64, depth=1, hidden=64).eval()
    net = net.half().float()  # what is stored is half precision
    vlm_parts.save(tmp_path, net, vlm_parts.processor(teacher.words))
    image = Image.fromarray(np.random.default_rng(3).integers(0, 255, (64, 64, 3), np.uint8).astype(np.uint8))
    packed = teacher.packed(np.array([[0, 1, 1]]), [("", "", "")])
    start = len(teacher.prefix)
    eye = vlm_eye.Eye(net, 8)
    x = pixels(torch.from_numpy(np.array(image))[None])
    text = net.model.text_model
    embeds = text.get_input_embeddings()(packed.ids)
    at = int((packed.ids[0] == net.config.image_token_id).nonzero()[0])
    with torch.no_grad():
        seen = net.model.connector.modality_projection.proj(eye.patches(x))
        embeds = torch.cat([embeds[:, :at], seen, embeds[:, at + seen.shape[1] :]], dim=1)
        mask = torch.where(packed.mask, 0.0, torch.finfo(torch.float32).min)
        hidden = text(inputs_embeds=embeds, attention_mask=mask, position_ids=packed.positions, use_cache=False)
        logits = net.lm_head(hidden.last_hidden_state)[0]
    local = LocalModel(tmp_path)
    for place in (packed.yes[0] >= 0).nonzero()[:, 0].tolist():
        first = start + (place - start) // ROOM * ROOM
        asked = teacher.words.decode(packed.ids[0, first:place]).split(" Answer yes or no.")[0]
        taught = float(torch.sigmoid(logits[place, teacher.yes] - logits[place, teacher.no]))
        assert local.yes_probabilities([image], [asked])[0, 0] == pytest.approx(taught, abs=2e-5)


def test_a_lesson_teaches(teacher: Teacher) -> None:
    """Two colours, two names: after some steps the model tells them apart by what it sees."""
    torch.manual_seed(4)
    net = vlm_parts.model(teacher.words, eye=64, depth=1, hidden=64)
    net.answer_ids = torch.tensor([teacher.yes, teacher.no])
    labels = np.array([[0, 1, 1], [1, 2, 0]] * 8)
    seen = torch.randn(2, 16, 64).repeat(8, 1, 1)
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        loss, _ = loss_of(net, seen, teacher.packed(labels, [("", "", "")] * 16))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_two_layers_become_one() -> None:
    torch.manual_seed(5)
    words = vlm_parts.tokenizer(["a cat"])
    net = vlm_parts.model(words, eye=64, depth=1, hidden=64)
    from diffgraph.world.recipe.vlm_net import School, Words

    eye, text = vlm_eye.Eye(net, 12), Words(net, 12)
    School.join(SimpleNamespace(text=text, eye=eye, model=net))  # type: ignore[arg-type]
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        both = net.model.connector.modality_projection.proj(eye.patches(x))
        torch.testing.assert_close(both, text.join(eye(x)), rtol=1e-4, atol=1e-5)
