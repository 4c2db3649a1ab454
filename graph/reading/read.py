"""Reading a prompt: which stretches name skills, and what is left that nobody knows.

By words only, deterministic, no model. Longest names first; the skill's own name before an alias, an alias before the
head of a name; grammar decides between facets. What an alias of doubtful sense means, and what the leftovers may mean,
is decided in `by_meaning` with embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import UserError
from ..embedding import word_ranks
from ..experts.expert import Facet
from .grammar import cue_after, cue_of, is_content, is_foreign, is_verb, negated
from .models import Cue, How, Leftover, Reading, Span
from .vocabulary import MAX_WORDS, Term, Vocabulary
from .words import ART, BACKGROUND_HEADS, DESCRIBING, FOREIGN, GENERIC_HEADS, STOP, STYLE_HEADS, Token, mend, tokenise

_SCORES: dict[How, float] = {"name": 1.0, "alias": 0.95, "head": 0.85, "typo": 0.9}
_BETWEEN = frozenset({"a", "an", "by", "from", "in", "of", "on", "the", "with"})
"""Words that may stand between those of a look's name."""
_STYLE_ENDINGS = ("ed", "ated", "ized", "ised", "ish", "like", "y", "ic", "ified", "esque")


@dataclass(frozen=True)
class _Match:
    """``tokens[start:end]`` may mean any of ``terms`` (all of one rank)."""

    start: int
    end: int
    terms: tuple[Term, ...]
    how: How


def facets(prompt: str, vocabulary: Vocabulary) -> Reading:
    """Read a prompt against a vocabulary.

    Raises:
        UserError: nothing in it but blanks.
    """
    tokens = tokenise(prompt)
    if not tokens:
        said = prompt.strip()
        if not any(c.isprintable() and not c.isspace() for c in said):
            raise UserError("The prompt is empty. Say what to draw, for example: an octopus as a blueprint.")
        return Reading((), (Leftover(said, prompt.find(said), prompt.find(said) + len(said), "free"),))
    return _Reader(prompt, tokens, vocabulary).read()


class _Reader:
    def __init__(self, text: str, tokens: list[Token], vocabulary: Vocabulary) -> None:
        self.text = text
        self.tokens = tokens
        self.vocabulary = vocabulary
        self.rules = vocabulary.rules
        self.foreign = is_foreign(tokens)
        self.negated = negated(tokens)
        self.keys, self.mended = self._mend()
        self.taken: list[_Match | None] = [None] * len(tokens)

    def _mend(self) -> tuple[list[str], set[int]]:
        """Singular words, with small typos of words that no dictionary knows put right."""
        keys = [t.key for t in self.tokens]
        mended: set[int] = set()
        for i, token in enumerate(self.tokens):
            odd = len(token.key) >= 5 and token.key not in self.vocabulary.words and is_content(token, self.rules)
            # A long text is no place for typos worth minutes; prompts of a few hundred words still get them all.
            if odd and not self.foreign and len(mended) < 32 and i < 400 and token.form not in self.vocabulary.words:
                ranks = word_ranks()
                if token.form not in ranks and token.key not in ranks and (token.key,) not in self.vocabulary.terms:
                    right = mend(token.key, self.vocabulary.words)
                    if right and token.key not in self.vocabulary.joined:
                        keys[i] = right
                        mended.add(i)
        return keys, mended

    # -- matching

    def read(self) -> Reading:
        self._phrases()
        if not self.foreign:
            self._scattered()
        self._single("name")
        if not self.foreign:
            self._single("alias")
            self._styles_by_stem()
            self._single("head")
        matches = sorted({m for m in self.taken if m is not None}, key=lambda m: m.start)
        spans, leftovers, excluded = self._settle(matches)
        leftovers += self._leftovers()
        excluded = list(dict.fromkeys([*excluded, *self._ruled_out()]))
        if not (spans or leftovers or excluded):
            # Only filler ("draw something beautiful"), or a "no" that rules nothing out: said, not passed over.
            leftovers = [self._leftover(0, len(self.tokens), "free")]
        return Reading(
            tuple(sorted(spans, key=lambda s: s.start)),
            tuple(sorted(leftovers, key=lambda p: p.start)),
            tuple(excluded),
        )

    def _phrases(self) -> None:
        """Names of several words, longest first, and names written together or apart."""
        found: list[_Match] = []
        for start in range(len(self.tokens)):
            for end in range(start + 1, min(start + MAX_WORDS, len(self.tokens)) + 1):
                if end > start + 1 and self.tokens[end - 1].breaks:
                    break
                words = tuple(self.keys[start:end])
                terms = self.vocabulary.terms.get(words, []) if len(words) > 1 else []
                if not terms and len("".join(words)) >= 6 and (len(words) > 1 or words not in self.vocabulary.terms):
                    terms = [t for t in self.vocabulary.joined.get("".join(words), []) if len(words) < 4]
                match = self._match(start, end, terms)
                if match is not None:
                    found.append(match)
        order = {"name": 0, "typo": 1, "alias": 2, "head": 3}
        for match in sorted(found, key=lambda m: (m.start - m.end, order[m.how], m.start)):
            self._take(match)

    def _scattered(self) -> None:
        """Names of looks with filler between their words or in another order: "waves of the sea" for sea waves."""
        for start in range(len(self.tokens)):
            words: set[str] = set()
            for end in range(start + 1, min(start + MAX_WORDS, len(self.tokens)) + 1):
                at = end - 1
                if self.taken[at] is not None or at in self.negated or (at > start and self.tokens[at].breaks):
                    break
                filler = self.tokens[at].form in _BETWEEN
                if at == start and filler:
                    break
                if filler:
                    continue
                if self.keys[at] in words:
                    break
                words.add(self.keys[at])
                match = self._match(start, end, self.vocabulary.bags.get(frozenset(words), []))
                if match is not None:
                    self._take(match)
                    break

    def _single(self, how: How) -> None:
        for at, token in enumerate(self.tokens):
            if self.taken[at] is None and not (self.foreign and (len(token.form) < 4 or token.form in FOREIGN)):
                terms = self._terms_of_word(at)
                match = self._match(at, at + 1, terms)
                if match is None or (match.how != how and not (match.how == "typo" and how == "name")):
                    continue
                if is_verb(self.tokens, at) or (how != "name" and self._modifies(at)):
                    continue
                if (how == "head" or _ends_name(match, self.keys[at])) and self._modified(at):
                    continue
                self._take(match)

    def _terms_of_word(self, at: int) -> list[Term]:
        """Terms of one word: as written first ("glasses"), then its singular."""
        exact = self.vocabulary.terms.get((self.tokens[at].form,), [])
        return exact or self.vocabulary.terms.get((self.keys[at],), [])

    def _match(self, start: int, end: int, terms: list[Term]) -> _Match | None:
        if not terms:
            return None
        rank = (terms[0].head, terms[0].own)
        # An alias of doubtful sense may yet be the head of another name ("truck"), so those stay as second choice.
        kept = tuple(t for t in terms if (t.head, t.own) == rank or not terms[0].own or t.facet != "subject")
        if self.foreign and not terms[0].own:
            return None
        how: How = "head" if terms[0].head else "name" if terms[0].own else "alias"
        if any(i in self.mended for i in range(start, end)):
            how = "typo"
        return _Match(start, end, kept, how)

    def _take(self, match: _Match) -> None:
        if all(self.taken[i] is None for i in range(match.start, match.end)):
            for i in range(match.start, match.end):
                self.taken[i] = match

    def _modifies(self, at: int) -> bool:
        """Whether the word only qualifies the next one ("pirate ship", "happy octopus"): then it names nothing
        itself.
        """
        if at + 1 >= len(self.tokens) or self.tokens[at + 1].breaks:
            return False
        following, match = self.tokens[at + 1], self.taken[at + 1]
        if match is not None:
            return all(t.facet == "subject" for t in match.terms)
        if following.form in ART or following.form in STYLE_HEADS or following.form.endswith(("ing", "ed", "ly")):
            return False
        return is_content(following, self.rules)

    def _modified(self, at: int) -> bool:
        """Whether a noun makes this one another thing ("rugby ball", "killer whale"); a quality ("smiling whale") does
        not.
        """
        if at == 0 or self.tokens[at].breaks or self.taken[at - 1] is not None:
            return False
        before = self.tokens[at - 1]
        return (
            is_content(before, self.rules) and before.form not in DESCRIBING and not before.form.endswith(("ing", "ed"))
        )

    def _styles_by_stem(self) -> None:
        """ "pixelated" for a style that is called after pixels."""
        for at, token in enumerate(self.tokens):
            if self.taken[at] is None and len(token.form) >= 6:
                stem = next((w for w in sorted(self.vocabulary.style_words) if token.form.startswith(w)), None)
                if stem is not None and token.form.removeprefix(stem) in _STYLE_ENDINGS:
                    groups = sorted(g for g in self.vocabulary.owners if g[0] == "style" and stem in g[1].split())
                    self._take(_Match(at, at + 1, tuple(Term(f, n, own=False) for f, n in groups), "alias"))

    # -- facets

    def _settle(self, matches: list[_Match]) -> tuple[list[Span], list[Leftover], list[str]]:
        """Decide each match's facet; matches that grammar makes a style or background nobody has become leftovers."""
        spans: list[Span] = []
        leftovers: list[Leftover] = []
        excluded: list[str] = []
        subjects = [m for m in matches if any(t.facet == "subject" for t in m.terms) and m.start not in self.negated]
        pure = [m for m in subjects if all(t.facet == "subject" for t in m.terms)]
        for match in matches:
            if match.start in self.negated:
                excluded.append(self._said(match.start, match.end))
                continue
            others = [m for m in (pure or subjects) if m is not match]
            cue = cue_of(self.text, self.tokens, match.start, match.end, self.rules)
            if cue is None and others and self._drawn_with(match.end):
                cue = "style"
            known = list(dict.fromkeys(t.facet for t in match.terms))
            if cue_after(self.tokens, match.end) == "background" and "background" not in known:
                facet = None
            else:
                facet = self._facet(known, cue, bool(others))
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
        return _each_once(spans), leftovers, excluded

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
        if self.taken[at] is not None or at in self.negated or not is_content(self.tokens[at], self.rules):
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

    def _ruled_out(self) -> list[str]:
        runs: list[str] = []
        words = [i for i in sorted(self.negated) if self.taken[i] is None and is_content(self.tokens[i], self.rules)]
        while words:
            run = [words.pop(0)]
            while words and words[0] == run[-1] + 1:
                run.append(words.pop(0))
            runs.append(self._said(run[0], run[-1] + 1))
        return runs

    def _leftover(self, start: int, end: int, cue: Cue) -> Leftover:
        return Leftover(self._said(start, end), self.tokens[start].start, self.tokens[end - 1].end, cue)

    def _said(self, start: int, end: int) -> str:
        return " ".join(self.text[self.tokens[start].start : self.tokens[end - 1].end].split())


def _ends_name(match: _Match, word: str) -> bool:
    """Whether an alias is just the last word of the name that it stands for."""
    term = match.terms[0]
    return match.how == "alias" and term.facet == "subject" and term.name.split()[-1] == word


def _each_once(spans: list[Span]) -> list[Span]:
    """Each skill once; the surest mention stays."""
    best: dict[tuple[Facet, str], Span] = {}
    for span in spans:
        known = best.get((span.facet, span.name))
        if known is None or span.score > known.score:
            best[span.facet, span.name] = span
    return list(best.values())
