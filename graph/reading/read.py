"""Reading a prompt: which stretches name skills, and what is left that nobody knows.

By words only, deterministic, no model. Longest names first; the skill's own name before an alias, an alias before the
head of a name; grammar decides between facets. What an alias of doubtful sense means, and what the leftovers may mean,
is decided in `by_meaning` with embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from ...errors import UserError
from ..experts.expert import Facet
from .grammar import cue_after, cue_of, is_content
from .matching import Match, Matcher
from .models import Cue, How, Leftover, Reading, Span
from .request import Orders, Request
from .split import split
from .vocabulary import Vocabulary
from .words import (
    ART,
    BACKGROUND_HEADS,
    FOREIGN,
    GENERIC_HEADS,
    STOP,
    STYLE_HEADS,
    keys_of,
    tokenise,
)

_Piece = TypeVar("_Piece", Span, Leftover)
_SCORES: dict[How, float] = {"name": 1.0, "alias": 0.95, "head": 0.85, "typo": 0.9}
_LINKS = frozenset({"that", "which", "is", "are", "in", "its", "it", "s", "colored", "coloured", "a", "the", "and"})
"""Words that may stand between a thing and what its name says of it."""
_ONE = frozenset({"a", "an", "the", "one", "two", "three", "his", "her", "its", "my"})


def facets(prompt: str, vocabulary: Vocabulary) -> Reading:
    """Read a prompt against a vocabulary.

    Raises:
        UserError: nothing in it but blanks.
    """
    request = split(prompt)
    return as_typed(read(request, vocabulary), request)


def read(request: Request, vocabulary: Vocabulary) -> Reading:
    """The same for a prompt that is already taken apart: only its words are read, orders and exclusions are not.

    Raises:
        UserError: nothing in it but blanks.
    """
    prompt = request.text
    if not any(c.isprintable() and not c.isspace() for c in prompt):
        raise UserError("The prompt is empty. Say what to draw, for example: an octopus as a blueprint.")
    tokens = tokenise(request.plain)
    if tokens:
        return _Reader(request.source, tokens, vocabulary, english=bool(request.language)).read(request.excluded)
    said = prompt.strip()
    if request.excluded or request.orders != Orders() or request.quoted or any(c.isalnum() for c in said):
        return Reading((), (), request.excluded)
    return Reading((), (Leftover(said, prompt.find(said), prompt.find(said) + len(said), "free"),))


class _Reader(Matcher):
    def read(self, excluded: tuple[str, ...] = ()) -> Reading:
        """Match names and settle what each asks for."""
        matches = self.match()
        spans, leftovers = self._settle(matches)
        leftovers += [p for p in self._leftovers() if not self._said_by(p, spans)]
        leftovers += [self._leftover(start, end, "style") for start, end in self.looks]
        if not (spans or leftovers or excluded):
            # Only filler ("draw something beautiful"), or a "no" that rules nothing out: said, not passed over.
            leftovers = [self._leftover(0, len(self.tokens), "free")]
        return Reading(
            tuple(sorted(spans, key=lambda s: s.start)),
            tuple(sorted(leftovers, key=lambda p: p.start)),
            excluded,
        )

    def _said_by(self, piece: Leftover, spans: Sequence[Span]) -> bool:
        """Whether a leftover only repeats what the name of a thing beside it says: "red" of a red apple."""
        words = {t.key for t in tokenise(piece.text) if is_content(t, self.rules)}
        for span in spans:
            skill = {w for _, s in self.vocabulary.owners.get((span.facet, span.name), []) for w in keys_of(s.name)}
            between = (
                self.text[span.end : piece.start] if piece.start >= span.end else self.text[piece.end : span.start]
            )
            if words <= skill and not any(c in ",.;:|\n" for c in between) and set(between.split()) <= _LINKS:
                return True
        return False

    # -- facets

    def _settle(self, matches: list[Match]) -> tuple[list[Span], list[Leftover]]:
        """Decide each match's facet; matches that grammar makes a style or background nobody has become leftovers."""
        spans: list[Span] = []
        leftovers: list[Leftover] = []
        subjects = [m for m in matches if any(t.facet == "subject" for t in m.terms)]
        pure = [m for m in subjects if all(t.facet == "subject" for t in m.terms)]
        for match in matches:
            others = [m for m in (pure or subjects) if m is not match]
            cue = cue_of(self.text, self.tokens, match.start, match.end, self.rules)
            if cue is None and others and self._drawn_with(match.end):
                cue = "style"
            known = list(dict.fromkeys(t.facet for t in match.terms))
            if cue_after(self.tokens, match.end) == "background" and "background" not in known:
                facet = None
            else:
                facet = self._facet(known, cue, bool(others) and not self._one(match))
            if facet is None:
                end = match.end + (match.end < len(self.tokens) and self._head_follows(match.end))
                leftovers.append(self._leftover(match.start, end, cue or "free"))
                continue
            names = [t.name for t in match.terms if t.facet == facet]
            spans.append(
                Span(
                    facet,
                    names[0],
                    self._said(match.start, match.end),
                    self.tokens[match.start].start,
                    self.tokens[match.end - 1].end,
                    match.how,
                    _SCORES[match.how],
                    tuple(names[1:]),
                )
            )
        return _each_once(spans), leftovers

    def _facet(self, known: list[Facet], cue: Cue | None, others: bool) -> Facet | None:
        if cue == "style":
            # "crayon drawing of a cat" asks for no crayon; "in line art style" is clear. A background cannot be a
            # style.
            return "style" if "style" in known else None if known == ["subject"] else known[0]
        if cue == "modifier" and known == ["background"]:
            return None  # "made of bricks" wants no wall behind it
        if cue == "background" and "background" in known:
            return "background"
        if "subject" not in known:
            return known[0]
        if len(known) > 1 and others:
            return next(f for f in known if f != "subject")
        return "subject"

    def _one(self, match: Match) -> bool:
        """Whether an article makes a word that may be a look a thing: "an owl and a pencil"."""
        looks = [t for t in match.terms if t.facet == "style"]
        return bool(looks) and match.start > 0 and self.tokens[match.start - 1].form in _ONE

    def _drawn_with(self, end: int) -> bool:
        """Whether a drawing's medium may end here: "pencil drawing" beside another subject."""
        return self._head_follows(end) and self.tokens[end].form in GENERIC_HEADS

    def _head_follows(self, end: int) -> bool:
        if end >= len(self.tokens) or self.tokens[end].breaks or self.taken[end] is not None:
            return False
        return self.tokens[end].form in STYLE_HEADS or self.tokens[end].form in BACKGROUND_HEADS

    # -- leftovers

    def _leftovers(self) -> list[Leftover]:
        if self.foreign:
            return self._clauses()
        pieces: list[Leftover] = []
        start: int | None = None
        for at in range(len(self.tokens) + 1):
            goes_on = at < len(self.tokens) and self._unknown(at)
            joined = goes_on and (start is None or not self.tokens[at].breaks)
            if start is not None and not joined and not (at < len(self.tokens) and self._of(at)):
                pieces += self._piece(start, at)
                start = None
            if goes_on and start is None:
                start = at
        return pieces

    def _unknown(self, at: int) -> bool:
        if (
            self.taken[at] is not None
            or any(a <= at < b for a, b in self.looks)
            or not is_content(self.tokens[at], self.rules)
        ):
            return False
        before = self.taken[at - 1] if at > 0 and not self.tokens[at].breaks else None
        # "halftone print": the word belongs to the style before it.
        return (
            before is None or self.tokens[at].form not in STYLE_HEADS or all(t.facet != "style" for t in before.terms)
        )

    def _of(self, at: int) -> bool:
        """ "portrait of feudal lords" stays together."""
        return (
            self.tokens[at].form == "of"
            and not self.tokens[at].breaks
            and at + 1 < len(self.tokens)
            and self._unknown(at + 1)
            and not self.tokens[at + 1].breaks
            and self.tokens[at - 1].form not in STYLE_HEADS
        )

    def _piece(self, start: int, end: int) -> list[Leftover]:
        """One leftover, with its cue and, if a word such as "style" or "background" belongs to it, that word."""
        cue: Cue | None = cue_of(self.text, self.tokens, start, end, self.rules)
        longer = end
        if self._head_follows(end):
            head = self.tokens[end].form
            cue = "background" if head in BACKGROUND_HEADS else "style"
            longer = end + 1
        elif any(t.form in ART for t in self.tokens[start:end]) or self.tokens[end - 1].form in STYLE_HEADS:
            cue = "style"
        if cue is None:
            match = self.taken[end] if end < len(self.tokens) and not self.tokens[end].breaks else None
            cue = "modifier" if match is not None and any(t.facet == "subject" for t in match.terms) else "free"
        return [self._leftover(start, longer, cue)]

    def _clauses(self) -> list[Leftover]:
        """What is not understood of another language: whole stretches between breaks and known names."""
        pieces: list[Leftover] = []
        start: int | None = None
        for at in range(len(self.tokens) + 1):
            ends = at == len(self.tokens) or self.taken[at] is not None or self.tokens[at].breaks
            if start is not None and ends:
                if any(len(t.form) > 3 or t.form not in FOREIGN | STOP for t in self.tokens[start:at]):
                    pieces.append(self._leftover(start, at, "free"))
                start = None
            if at < len(self.tokens) and self.taken[at] is None and start is None:
                start = at
        return pieces

    def _leftover(self, start: int, end: int, cue: Cue) -> Leftover:
        return Leftover(self._said(start, end), self.tokens[start].start, self.tokens[end - 1].end, cue)

    def _said(self, start: int, end: int) -> str:
        return " ".join(self.text[self.tokens[start].start : self.tokens[end - 1].end].split())


def as_typed(reading: Reading, request: Request) -> Reading:
    """A reading of a prompt's English with the user's own words in it."""
    if not request.language:
        return reading

    def typed(piece: _Piece) -> _Piece:
        start, end = request.typed(piece.start, piece.end)
        return replace(piece, text=" ".join(request.text[start:end].split()), start=start, end=end)

    return replace(reading, spans=tuple(map(typed, reading.spans)), leftovers=tuple(map(typed, reading.leftovers)))


def _each_once(spans: list[Span]) -> list[Span]:
    """Each skill once; the surest mention stays."""
    best: dict[tuple[Facet, str], Span] = {}
    for span in spans:
        known = best.get((span.facet, span.name))
        if known is None or span.score > known.score:
            best[span.facet, span.name] = span
    return list(best.values())
