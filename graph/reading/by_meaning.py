"""What words alone cannot settle: doubtful aliases, and leftovers that may mean a known skill.

Embeddings tell siblings from synonyms badly (cello and violin: cosine 0.68; spectacles and glasses: 0.74), so a subject
is taken by meaning only when a description of several words points clearly at one skill. Styles and backgrounds are few
and far apart, which allows more. Whatever stays below the thresholds is named as uncovered rather than drawn as
something else. The thresholds were set on lists of paraphrases and of things that no skill covers; the tests hold both
kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..embedding import word_ranks
from ..experts.expert import FACETS, Facet
from .dictionary import COMPOUND, frequency
from .models import Leftover, Reading, Span
from .rules import ReadingRules
from .vocabulary import Vocabulary
from .words import ART, BACKGROUND_HEADS, STYLE_HEADS, keys_of, tokenise

if TYPE_CHECKING:
    from ..store.graph_store import GraphStore, Hit

NEAR = 0.66  # a style or background that the grammar asks for
NEAR_FREE = 0.72  # one that it does not ask for
NEAR_WORD = 0.80  # a single word without a cue
MARGIN = 0.08  # ahead of the next skill
SUBJECT_NAME, SUBJECT_CONTEXT, SUBJECT_MARGIN = 0.66, 0.55, 0.10
MODIFIER = 0.60  # "blue sky" for "night sky": what stands before the shared word must fit too
COMMON_WORD = 12_000  # place in the word list up to which a word has many senses
ALIAS = 0.50  # cosine of a common word with the name it is said to stand for
MAX_PIECES = 64


def refine(prompt: str, reading: Reading, vocabulary: Vocabulary, store: GraphStore, family: str) -> Reading:
    """Settle doubtful aliases and leftovers by meaning. Loads the embedding model only if there are any."""
    spans, doubted = _check_aliases(reading.spans, store)
    spans, pieces = _looks(
        prompt, spans, _joined(prompt, [*reading.leftovers, *doubted]), store, family, vocabulary.rules
    )
    spans = _absorbed(prompt, spans, vocabulary)
    leftovers: list[Leftover] = []
    open_pieces: list[Leftover] = []
    for piece in pieces:
        colour = _colour_background(prompt, piece, vocabulary)
        if colour is not None:
            spans.append(colour)
        elif len(open_pieces) < MAX_PIECES and tokenise(piece.text):
            open_pieces.append(piece)
        else:
            leftovers.append(piece)
    for piece, span in zip(open_pieces, _by_meaning(open_pieces, store, family, vocabulary.rules), strict=True):
        if span is None:
            leftovers.append(piece)
        elif all((s.facet, s.name) != (span.facet, span.name) for s in spans):
            spans.append(span)
    return replace(
        reading,
        spans=tuple(sorted(spans, key=lambda s: s.start)),
        leftovers=tuple(sorted(leftovers, key=lambda p: p.start)),
    )


def _check_aliases(spans: Sequence[Span], store: GraphStore) -> tuple[list[Span], list[Leftover]]:
    """Cards list loose tags as aliases ("pirate" for a parrot): a common word must be near the name that it stands for.

    If it is not, the word may still be the head of another name: a truck is no fire engine, but a pickup truck is one.
    """
    doubtful = [s for s in spans if _doubtful(s)]
    if not doubtful:
        return list(spans), []
    said = store.embedder.embed([s.text.casefold() for s in doubtful])
    meant = store.embedder.embed([s.name for s in doubtful])
    wrong = {s for s, cosine in zip(doubtful, (said * meant).sum(1), strict=True) if cosine < ALIAS}
    kept: list[Span] = []
    doubted: list[Leftover] = []
    for span in spans:
        heads = [n for n in span.others if n.split()[-1:] == list(keys_of(span.text))]
        if span not in wrong:
            kept.append(span)
        elif heads:
            kept.append(replace(span, name=heads[0], how="head", score=0.85, others=tuple(heads[1:])))
        else:
            doubted.append(Leftover(span.text, span.start, span.end, "free"))
    return kept, doubted


def _joined(prompt: str, pieces: Sequence[Leftover]) -> list[Leftover]:
    """Pieces that stand side by side, as one: "pirate" and "ship"."""
    joined: list[Leftover] = []
    for piece in sorted(pieces, key=lambda p: p.start):
        if joined and prompt[joined[-1].end : piece.start] in (" ", "-"):
            last = joined.pop()
            piece = replace(piece, text=prompt[last.start : piece.end], start=last.start)
        joined.append(piece)
    return joined


def _looks(
    prompt: str,
    spans: Sequence[Span],
    pieces: Sequence[Leftover],
    store: GraphStore,
    family: str,
    rules: ReadingRules,
) -> tuple[list[Span], list[Leftover]]:
    """Known subjects and unknown words side by side may together describe a look: "comic book dots"."""
    found: list[tuple[Hit, Leftover, list[Span | Leftover]]] = []
    for chain in _chains(
        prompt, [s for s in spans if s.facet == "subject"], [p for p in pieces if p.cue != "background"]
    ):
        start, end = chain[0].start, chain[-1].end
        whole = Leftover(prompt[start:end], start, end, "free")
        hits = store.search_many([whole.text.casefold()], family, ("style",), k=4)[0]
        hit = _accept(whole, whole.text.casefold(), "style", hits, store, rules)
        if hit is not None:
            found.append((hit, whole, chain))
    kept, left = list(spans), list(pieces)
    for hit, whole, chain in sorted(found, key=lambda f: (-f[0].score, f[1].start, f[1].end)):
        if all(c in kept or c in left for c in chain):
            kept = [s for s in kept if s not in chain]
            left = [p for p in left if p not in chain]
            name = " ".join(keys_of(hit.skill.name))
            kept.append(Span("style", name, whole.text, whole.start, whole.end, "meaning", min(1.0, hit.score)))
    return kept, left


def _chains(prompt: str, spans: Sequence[Span], pieces: Sequence[Leftover]) -> list[list[Span | Leftover]]:
    """Runs of two to four neighbours with a known subject and an unknown piece among them; at most 64."""
    items: list[Span | Leftover] = sorted([*spans, *pieces], key=lambda i: i.start)
    chains: list[list[Span | Leftover]] = []
    for first in range(len(items)):
        for last in range(first + 1, min(first + 4, len(items))):
            if not _touch(prompt, items[last - 1], items[last]):
                break
            chain = items[first : last + 1]
            if any(isinstance(i, Span) for i in chain) and any(isinstance(i, Leftover) for i in chain):
                chains.append(chain)
    return chains[:MAX_PIECES]


def _touch(prompt: str, left: Span | Leftover, right: Span | Leftover) -> bool:
    return prompt[left.end : right.start] in (" ", "-")


def _absorbed(prompt: str, spans: Sequence[Span], vocabulary: Vocabulary) -> list[Span]:
    """Without subjects that only repeat a word of the style beside them: "pencil-sketched"."""
    dropped: set[Span] = set()
    for style in (s for s in spans if s.facet == "style"):
        skills = [skill for _, skill in vocabulary.owners.get(("style", style.name), [])]
        words = {w for skill in skills for n in (skill.name, *skill.aliases) for w in keys_of(n)}
        for span in spans:
            beside = _touch(prompt, span, style) or _touch(prompt, style, span)
            if beside and span.facet == "subject" and set(span.name.split()) <= words:
                dropped.add(span)
    return [s for s in spans if s not in dropped]


def _doubtful(span: Span) -> bool:
    if span.how != "alias" or span.facet != "subject":
        return False
    words = keys_of(span.text)
    if len(words) != 1 or span.name.split()[-1] in words:
        return False
    rank = word_ranks().get(span.text.casefold(), word_ranks().get(words[0]))
    return rank is not None and rank < COMMON_WORD


def _colour_background(prompt: str, piece: Leftover, vocabulary: Vocabulary) -> Span | None:
    """ "on crimson", "a navy backdrop": other words for the plain colours that the base draws."""
    if piece.cue != "background":
        return None
    colours = vocabulary.rules.colours
    words = [colours.get(w, w) for w in keys_of(piece.text) if w not in BACKGROUND_HEADS]
    before = prompt[: piece.start].split()
    if len(words) != 1 or (before and before[-1].casefold() == "in"):
        return None
    for term in vocabulary.terms.get((words[0], "background"), []):
        if term.facet == "background":
            return Span("background", term.name, piece.text, piece.start, piece.end, "alias", 0.9)
    return None


def _by_meaning(pieces: Sequence[Leftover], store: GraphStore, family: str, rules: ReadingRules) -> list[Span | None]:
    if not pieces:
        return []
    texts = [_bare(p) for p in pieces]
    hits: dict[Facet, list[list[Hit]]] = {f: store.search_many(texts, family, (f,), k=4) for f in FACETS}
    found: list[Span | None] = []
    for i, piece in enumerate(pieces):
        best = [
            h for f in _facets_of(piece) if (h := _accept(piece, texts[i], f, hits[f][i], store, rules)) is not None
        ]
        best.sort(key=lambda h: (-h.score, h.expert_id))
        name = " ".join(keys_of(best[0].skill.name)) if best else ""
        found.append(
            Span(best[0].facet, name, piece.text, piece.start, piece.end, "meaning", min(1.0, best[0].score))
            if best
            else None
        )
    return found


def _bare(piece: Leftover) -> str:
    """The text without "style" or "background" at its end, which would make all styles alike."""
    words = [t.text for t in tokenise(piece.text)]
    heads = (
        BACKGROUND_HEADS
        if piece.cue == "background"
        else STYLE_HEADS - {"art", "drawing", "painting", "print", "illustration"}
    )
    while len(words) > 1 and words[-1].casefold() in heads:
        words.pop()
    return " ".join(words).casefold()


def _facets_of(piece: Leftover) -> tuple[Facet, ...]:
    if piece.cue == "style":
        return ("style",)
    if piece.cue == "background":
        return ("background", "lighting")
    if piece.cue == "modifier":
        return ("style", "action", "lighting", "quality")
    return FACETS


def _accept(
    piece: Leftover, text: str, facet: Facet, hits: list[Hit], store: GraphStore, rules: ReadingRules
) -> Hit | None:
    """The best hit if it clears the bar of its facet, else None."""
    names = {(h.facet, " ".join(keys_of(h.skill.name))): h for h in reversed(hits)}
    ranked = sorted(names.values(), key=lambda h: (-h.score, h.expert_id))
    if not ranked:
        return None
    first, second = ranked[0], ranked[1].score if len(ranked) > 1 else 0.0
    words = keys_of(text)
    if piece.cue != facet and _begins(words, first):
        return None  # a sea creature is no sea, a bus stop no bus
    if facet == "subject":
        if len(words) < 2 or set(words) & ART or words[-1] in STYLE_HEADS or _same_head(words, first):
            return None  # a wedding cake is no birthday cake
        if frequency("".join(words)) >= COMPOUND:
            return None  # a sea horse is no horse
        clear = (
            first.score >= SUBJECT_NAME and first.context >= SUBJECT_CONTEXT and first.score - second >= SUBJECT_MARGIN
        )
        return first if clear else None
    asked = piece.cue == facet
    bar = NEAR if asked else NEAR_FREE if len(words) > 1 else NEAR_WORD
    if set(words) & ART:
        bar = NEAR_WORD  # media are siblings: charcoal is no pencil
    if first.score < bar or first.score - second < MARGIN:
        return None
    if facet == "background" and not asked and rules.is_plain(keys_of(first.skill.name)):
        return None  # "the red one" asks for no red background
    if len(words) == 1 and _only_alias_ends_so(words[0], first):
        return None  # the sky is no night sky
    return first if _modifiers_fit(words, first, store) else None


def _begins(words: tuple[str, ...], hit: Hit) -> bool:
    names = (keys_of(n) for n in (hit.skill.name, *hit.skill.aliases))
    ends = words[-1] in STYLE_HEADS or words[-1] in BACKGROUND_HEADS
    return not ends and any(n and len(words) > len(n) and words[: len(n)] == n for n in names)


def _same_head(words: tuple[str, ...], hit: Hit) -> bool:
    return any(len(n) > 1 and n[-1] == words[-1] for n in (keys_of(n) for n in (hit.skill.name, *hit.skill.aliases)))


def _only_alias_ends_so(word: str, hit: Hit) -> bool:
    own = keys_of(hit.skill.name)
    return own[-1] != word and _same_head((word,), hit) and all(keys_of(a) != (word,) for a in hit.skill.aliases)


def _modifiers_fit(words: tuple[str, ...], hit: Hit, store: GraphStore) -> bool:
    """If the text ends like a name of the skill, what stands before must fit too: a stone wall is no brick wall."""
    if len(words) < 2 or not _same_head(words, hit):
        return True
    names = [n for n in (keys_of(n) for n in (hit.skill.name, *hit.skill.aliases)) if n]
    said = store.embedder.embed([" ".join(words[:-1])])
    meant = store.embedder.embed([" ".join(n[:-1] if len(n) > 1 and n[-1] == words[-1] else n) for n in names])
    return bool((meant @ said[0]).max() >= MODIFIER)
