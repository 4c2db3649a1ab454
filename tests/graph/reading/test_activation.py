"""Prompts as people write them, against a graph with every kind of decoy."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from diffgraph.errors import UserError
from diffgraph.graph.embedding import default_embedder
from diffgraph.graph.reading.read import facets
from diffgraph.graph.reading.rules import ReadingRules
from diffgraph.graph.reading.split import split
from diffgraph.graph.reading.vocabulary import Vocabulary
from diffgraph.graph.selection.activation import Activation
from diffgraph.graph.selection.solver import activate
from diffgraph.graph.store.graph_store import GraphStore
from diffgraph.world.reading import READING

RULES = ReadingRules.of(READING)

# prompt, canonical prompt, experts (short ids), uncovered
CASES: list[tuple[str, str, str, tuple[str, ...]]] = [
    # the grammar itself
    ("octopus", "octopus", "sea-life", ()),
    ("octopus, blueprint style, starry night background", "octopus, blueprint style, starry night background",
     "blueprint sea-life starry-night", ()),
    ("pizza, plain red background", "pizza, plain red background", "", ()),
    ("crab/pixel art/brick wall", "crab, pixel art style, brick wall background", "brick-wall pixel-art sea-life", ()),
    ("style: halftone, subject: parrot, background: brick wall", "parrot, halftone style, brick wall background",
     "birds brick-wall halftone", ()),
    # sentences
    ("an octopus as a blueprint", "octopus, blueprint style", "blueprint sea-life", ()),
    ("a picture of a shark in the style of pixel art, on a brick wall", "shark, pixel art style, brick wall background",
     "brick-wall pixel-art sea-life", ()),
    ("Could you make a technical drawing of a helicopter please?", "helicopter, blueprint style",
     "blueprint vehicles", ()),
    ("Show me a turtle, please, done as an architect's plan with the night sky behind it.",
     "turtle, blueprint style, starry night background", "blueprint sea-life starry-night", ()),
    ("turtle as line art under a starry sky", "turtle, line art style, starry night background",
     "line-art sea-life starry-night", ()),
    ("draw a turkey on a plain blue background in line art", "turkey, line art style, plain blue background",
     "birds line-art", ()),
    ("A parrot! Halftone. Bricks.", "parrot, halftone style, brick wall background", "birds brick-wall halftone", ()),
    ("CRAB IN NEON STYLE", "crab, neon style", "neon sea-life", ()),
    ("crab neon-style starry-night-background", "crab, neon style, starry night background",
     "neon sea-life starry-night", ()),
    ("pineapple and coconut", "pineapple and coconut", "fruit", ()),
    ("a mug of beer and a pizza in line art", "beer mug and pizza, line art style", "line-art", ()),
    ("koala white background", "koala, plain white background", "", ()),
    # plurals, spelling, compounds, symbols
    ("two glasses", "glasses", "", ("two",)),
    ("cherries with glowing outlines in front of red bricks", "cherries, neon style, brick wall background",
     "brick-wall fruit neon", ()),
    ("jelly fish in a green meadow", "jellyfish, green meadow background", "green-meadow sea-life", ()),
    ("octupus in blueprnt style", "octopus, blueprint style", "blueprint sea-life", ()),
    ("strawbery, pixle art", "strawberry, pixel art style", "fruit pixel-art", ()),
    ("Bluprint of a helicoptr", "helicopter, blueprint style", "blueprint vehicles", ()),
    ("🐙 as neon sign", "octopus, neon style", "neon sea-life", ()),
    ("Pixelated banana on a red background", "banana, pixel art style, plain red background", "fruit pixel-art", ()),
    # a look's words in another order, with others between
    ("my grandmother's accordion, hand-drawn in pencil", "accordion, pencil sketch style", "music pencil-sketch",
     ("grandmother's",)),
    ("lollipop, waves of the sea in the background", "lollipop, ocean waves background", "ocean-waves sweets", ()),
    ("a duck in the open, sea", "duck", "birds", ("open", "sea")),
    # synonyms and heads of names
    ("a bunny", "rabbit", "", ()),
    ("whale in the open sea", "spouting whale, ocean waves background", "ocean-waves sea-life", ()),
    ("a truck", "pickup truck", "vehicles", ()),
    ("an apple", "red apple", "fruit", ()),
    ("a train in the mountains", "locomotive and snow-capped mountain", "vehicles", ()),
    ("synthwave palette sailboat", "sailboat, sunset duotone style", "sunset-duotone vehicles", ()),
    ("hand-drawn pencil of a bear, on masonry", "bear, pencil sketch style, brick wall background",
     "brick-wall pencil-sketch", ()),
    ("pencil-sketched wolf", "wolf, pencil sketch style", "pencil-sketch", ()),
    ("pencil drawing of a violin", "violin, pencil sketch style", "music pencil-sketch", ()),
    # by meaning
    ("a drum drawn with graphite", "drum, pencil sketch style", "music pencil-sketch", ()),
    ("comic book dots, motorcycle", "motorcycle, halftone style", "halftone vehicles", ()),
    ("retro videogame sprite of a taxi", "taxi, pixel art style", "pixel-art vehicles", ()),
    ("penguin on grassy meadow", "penguin, green meadow background", "birds green-meadow", ()),
    ("a turtle under a starlit sky", "turtle, starry night background", "sea-life starry-night", ()),
    ("a dolphin in the ocean", "dolphin, ocean waves background", "ocean-waves sea-life", ()),
    # colours
    ("lemon on crimson", "lemon, plain red background", "fruit", ()),
    ("lemon on a navy backdrop", "lemon, plain blue background", "fruit", ()),
    # one word, several facets
    ("crab under the stars", "crab, starry night background", "sea-life starry-night", ()),
    ("stars", "star", "", ()),
    ("star, neon", "star, neon style", "neon", ()),
    ("star on ocean waves", "star, ocean waves background", "ocean-waves", ()),
    ("a crayon", "crayon", "", ()),
    ("crayon drawing of a cat", "cat", "", ("crayon drawing",)),
    ("can you draw a fly", "fly", "bugs", ()),
    ("a pig that can fly", "pig", "", ("fly",)),
    ("computer mouse", "computer mouse", "", ()),
    ("a cat drawn in a green meadow", "cat, green meadow background", "green-meadow", ()),
    ("butterfly made of bricks", "butterfly", "bugs", ("bricks",)),
    # what nobody can draw is named
    ("tax law", "", "", ("tax law",)),
    ("octopus explaining tax law", "octopus", "sea-life", ("explaining tax law",)),
    ("an oil painting of a lobster", "lobster", "sea-life", ("oil painting",)),
    ("charcoal drawing of a wolf", "wolf", "", ("charcoal drawing",)),
    ("peacock in anime style", "peacock", "birds", ("anime style",)),
    ("honeybee in van gogh style", "honeybee", "bugs", ("van gogh style",)),
    ("koala with sunglasses in the style of Picasso", "koala and sunglasses", "", ("Picasso",)),
    ("pop art banana", "banana", "fruit", ("pop art",)),
    ("a pineapple, photorealistic", "pineapple", "fruit", ("photorealistic",)),
    ("lemon in a jungle", "lemon", "fruit", ("jungle",)),
    ("lemon against a stone wall", "lemon", "fruit", ("stone wall",)),
    ("lemon against a wooden wall", "lemon", "fruit", ("wooden wall",)),
    ("lemon under a blue sky", "lemon", "fruit", ("blue sky",)),
    ("lemon with desert dunes in the background", "lemon", "fruit", ("desert dunes",)),
    ("shark with a castle background", "shark", "sea-life", ("castle background",)),
    ("kite in the sky", "kite", "sports", ("sky",)),
    ("a pirate ship", "", "", ("pirate ship",)),
    ("a rugby ball", "", "", ("rugby ball",)),
    ("a cello", "", "", ("cello",)),
    ("a harmonica", "", "", ("harmonica",)),
    ("an armadillo", "", "", ("armadillo",)),
    ("the Eiffel tower", "", "", ("Eiffel tower",)),
    ("a spectacles", "", "", ("spectacles",)),
    ("the red one", "", "", ("red",)),
    ("black octopus", "octopus", "sea-life", ("black",)),
    ("draw something beautiful", "", "", ("draw something beautiful",)),
    ("!!!", "", "", ("!!!",)),
    # other languages
    ("eine Katze im Stil eines Bauplans", "cat, blueprint style", "blueprint", ()),
    ("un chat sur un mur", "cat", "", ("mur",)),
    ("en kat op een muur", "", "", ("en kat op een muur",)),
    ("人工知能", "", "", ("人工知能",)),
    # decoys near by
    ("watercolour octopus", "octopus", "sea-life", ("watercolour",)),
    ("a woodcut of a fox", "fox", "", ("woodcut",)),
    ("stained glass owl", "owl", "birds", ("stained glass",)),
    ("a stegosaurus", "", "", ("stegosaurus",)),
]  # fmt: skip


def short(found: Activation) -> str:
    return " ".join(e.id.removeprefix("world/") for e in found.experts)


@pytest.mark.parametrize(("prompt", "canonical", "experts", "uncovered"), CASES, ids=[c[0][:40] for c in CASES])
def test_reads_prompts(
    store: GraphStore, prompt: str, canonical: str, experts: str, uncovered: tuple[str, ...]
) -> None:
    found = activate(prompt, store, "emoji", RULES)
    assert (found.prompt, short(found), found.uncovered) == (canonical, experts, uncovered)


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 60


def test_every_facet_says_who_draws_it(store: GraphStore) -> None:
    found = activate("watercolour octopus on a red background", store, "emoji", RULES)
    assert [(f.facet, f.text, f.trigger, f.by) for f in found.facets] == [
        ("subject", "octopus", "octopus", "world/sea-life"),
        ("background", "red background", "plain red background", "base"),
        ("style", "watercolour", "", None),
    ]


def test_what_only_the_world_knows_is_not_said_of_other_bases(store: GraphStore) -> None:
    """On a base that says nothing of its own an icon is a thing, and crimson no plain background."""
    on_world = activate("an icon of a lemon on crimson", store, "emoji", RULES)
    assert (on_world.prompt, on_world.uncovered) == ("lemon, plain red background", ())
    elsewhere = activate("an icon of a lemon on crimson", store, "emoji")
    assert (elsewhere.prompt, elsewhere.uncovered) == ("lemon", ("icon", "crimson"))


def test_weights_are_those_of_the_calibration(store: GraphStore) -> None:
    found = activate("neon octopus", store, "emoji", RULES)
    best = {c.expert_id: c.best_weight for c in store.calibrations()}
    assert len(found.experts) == 2
    assert all(e.weight == best[e.id] and e.calibrated for e in found.experts)


def test_decoys_are_never_chosen_and_say_why(store: GraphStore) -> None:
    decoys = {"ocean-creatures-v2", "birds-ultra-hd", "stained-glass", "sdxl-watercolour", "mislabelled-woodcut"}
    for prompt, *_ in CASES:
        assert not decoys & set(short(activate(prompt, store, "emoji", RULES)).split())
    why = dict(activate("watercolour woodcut of a stained glass owl and a crab", store, "emoji", RULES).rejected)
    assert "no effect" in why["world/birds-ultra-hd"]
    assert "does not do what the card says" in why["world/stained-glass"]
    assert "a copy of world/sea-life" in why["world/ocean-creatures-v2"]
    assert "sdxl" in why["world/sdxl-watercolour"]
    assert "sd15" in why["world/mislabelled-woodcut"]


def test_the_uncalibrated_are_chosen_only_where_nothing_else_does_and_flagged(store: GraphStore) -> None:
    found = activate("a papercut penguin", store, "emoji", RULES)
    assert [(e.id, e.calibrated, e.weight) for e in found.experts if not e.calibrated] == [
        ("world/papercut", False, 1.0)
    ]
    assert "never calibrated" in dict(found.rejected)["world/papercut"]


def test_negation(store: GraphStore) -> None:
    found = activate("an octopus without a hat", store, "emoji", RULES)
    assert (short(found), found.uncovered, found.excluded) == ("sea-life", (), ("hat",))
    assert activate("a cat, not a dog, no background", store, "emoji", RULES).prompt == "cat"


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t", "\u200b\u200b"])
def test_an_empty_prompt_is_the_users(store: GraphStore, prompt: str) -> None:
    with pytest.raises(UserError, match="empty"):
        activate(prompt, store, "emoji", RULES)


def test_a_family_nobody_knows_covers_nothing(store: GraphStore) -> None:
    found = activate("an octopus", store, "flux1")
    assert (found.experts, found.uncovered, found.prompt) == ((), ("octopus",), "")
    assert "emoji, not flux1" in dict(found.rejected)["world/sea-life"]


def test_two_thousand_words_are_read_quickly(store: GraphStore) -> None:
    story = "The old keeper wandered past the harbour thinking about ledgers, umbrage and quarrels. "
    prompt = story * 160 + "In the end: an octopus in blueprint style under the stars."
    assert len(prompt.split()) > 2000
    activate("warm up the grassland", store, "emoji", RULES)
    start = time.process_time()
    found = activate(prompt, store, "emoji", RULES)
    assert time.process_time() - start < 4
    assert short(found) == "blueprint sea-life starry-night"
    assert "ledgers" in found.uncovered


def test_deterministic(store: GraphStore) -> None:
    prompt = "octopus explaining tax law drawn with graphite on a stone wall"
    assert activate(prompt, store, "emoji", RULES) == activate(prompt, store, "emoji", RULES)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200))
@example("ÑO")
@example("no")
def test_any_text_can_be_read(store: GraphStore, text: str) -> None:
    view = store.view("emoji")
    vocabulary = Vocabulary.of(view.experts, view.base, RULES)
    try:
        reading = facets(text, vocabulary)
    except UserError:
        assert not any(c.isalnum() for c in text)
        return
    for span in (*reading.spans, *reading.leftovers):
        assert 0 <= span.start < span.end <= len(text)
    names_something = any(c.isalnum() for c in split(text).plain)
    assert reading.spans or reading.leftovers or reading.excluded or not names_something


_TEXT = """octopus neon starry night background style in the of with without under a watercolour 🐙 , . ( ) blueprint
on red truck pirate stone wall as drawing pencil no and tax ß ﬁre café"""
_WORDS = st.sampled_from(_TEXT.split())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_WORDS, min_size=1, max_size=14))
def test_any_order_of_words_is_answered(store: GraphStore, words: list[str]) -> None:
    prompt = " ".join(words)
    found = activate(prompt, store, "emoji", RULES)
    known = {e.id for e in store.experts("emoji")}
    assert {e.id for e in found.experts} <= known
    assert bool(found.prompt) == any(f.by for f in found.facets)


def test_plain_words_load_no_model(store: GraphStore, tmp_path) -> None:
    """Listing and reading exact prompts must not wait for torch."""
    assert default_embedder().loaded
    exported = tmp_path / "graph.jsonl"
    store.export_jsonl(exported)
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from diffgraph.graph.store.graph_store import GraphStore\n"
        "from diffgraph.graph.selection.solver import activate\n"
        "from diffgraph.graph.reading.rules import ReadingRules\n"
        "from diffgraph.world.reading import READING\n"
        "RULES = ReadingRules.of(READING)\n"
        f"with GraphStore(Path({str(tmp_path / 'g')!r})) as store:\n"
        f"    store.import_jsonl(Path({str(exported)!r}))\n"
        "    found = activate('an octopus as a blueprint on a red background', store, 'emoji', RULES)\n"
        "    assert len(found.experts) == 2 and len(store.experts()) > 20\n"
        "print(sorted({'torch', 'transformers', 'langchain_core'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
