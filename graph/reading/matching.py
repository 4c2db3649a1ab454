"""Which stretches of a prompt may name skills. By words only, deterministic, no model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..embedding import word_ranks
from .compounds import doubles, is_head, together
from .dictionary import frequency, is_word
from .grammar import is_content, is_foreign, is_verb
from .models import How
from .vocabulary import MAX_WORDS, Term, Vocabulary
from .words import ART, DESCRIBING, FOREIGN, STYLE_HEADS, Token, mend, singular

_BETWEEN = frozenset({"a", "an", "by", "from", "in", "of", "on", "the", "with"})
"""Words that may stand between those of a look's name."""
_STYLE_ENDINGS = ("ed", "ated", "ized", "ised", "ish", "like", "y", "ic", "ified", "esque")


@dataclass(frozen=True)
class Match:
    """``tokens[start:end]`` may mean any of ``terms`` (all of one rank)."""

    start: int
    end: int
    terms: tuple[Term, ...]
    how: How


class Matcher:
    """A prompt's words and what each of them may name: longest names first, names before aliases before heads."""

    def __init__(self, text: str, tokens: list[Token], vocabulary: Vocabulary, *, english: bool = False) -> None:
        self.text = text
        self.tokens = tokens
        self.vocabulary = vocabulary
        self.rules = vocabulary.rules
        self.foreign = not english and is_foreign(tokens)
        self.keys, self.mended = self._mend()
        self.taken: list[Match | None] = [None] * len(tokens)
        self.looks: list[tuple[int, int]] = []
        self.shut: set[int] = set()
        """Words that name nothing by themselves, because they are one thing with their neighbours."""

    def _mend(self) -> tuple[list[str], set[int]]:
        """Singular words, with small typos of words that no dictionary knows put right."""
        keys = [t.key for t in self.tokens]
        mended: set[int] = set()
        for i, token in enumerate(self.tokens):
            counted = re.fullmatch(r"\d{1,2}([a-z]{3,})", token.form)  # "1cat"
            if counted and (singular(counted[1]),) in self.vocabulary.terms:
                keys[i] = singular(counted[1])
        for i, token in enumerate(self.tokens):
            odd = len(token.key) >= 5 and token.key not in self.vocabulary.words and is_content(token, self.rules)
            # A long text is no place for typos worth minutes; prompts of a few hundred words still get them all.
            if odd and not self.foreign and len(mended) < 32 and i < 400 and token.form not in self.vocabulary.words:
                common = token.form in word_ranks() or token.key in word_ranks()
                if common or (token.key,) in self.vocabulary.terms or token.key in self.vocabulary.joined:
                    continue
                right = self._right(i, mend(token.key, self.vocabulary.words))
                if right:
                    keys[i] = right
                    mended.add(i)
        return keys, mended

    def _right(self, at: int, candidates: Sequence[str]) -> str | None:
        """Of words as near to a slip: the one that makes a name with a neighbour, else the commonest by far."""
        beside = [
            c
            for c in candidates
            if (at and (self.tokens[at - 1].key, c) in self.vocabulary.terms)
            or (at + 1 < len(self.tokens) and (c, self.tokens[at + 1].key) in self.vocabulary.terms)
        ]
        token = self.tokens[at]
        if len(beside) == 1:
            return beside[0]  # "blueprint stile"
        if not candidates or is_word(token.form, token.key):
            return None
        if len(candidates) == 1:
            return candidates[0]
        first, second = sorted(candidates, key=frequency, reverse=True)[:2]
        return first if frequency(first) > 4 * frequency(second) else None

    def match(self) -> list[Match]:
        """All stretches that may name something, in order."""
        self._phrases()
        if not self.foreign:
            self._scattered()
            self._part()
        self._single("name")
        if not self.foreign:
            self._single("alias")
            self._styles_by_stem()
            self._single("head")
            self._qualified()
        return sorted({m for m in self.taken if m is not None}, key=lambda m: m.start)

    def _part(self) -> None:
        """Shut words that only together name a thing, and names that a word after them makes another thing."""
        self.looks = [p for p in together(self.tokens) if all(self.taken[i] is None for i in range(*p))]
        self.shut |= {i for start, end in self.looks for i in range(start, end)}
        known = self.vocabulary.joined
        self.shut |= doubles(
            self.tokens,
            lambda i: self.taken[i] is None and i not in self.shut and is_content(self.tokens[i], self.rules),
            lambda word: word in known or (word,) in self.vocabulary.terms,
        )
        for at in range(1, len(self.tokens)):
            if self.taken[at] is not None or at in self.shut or not is_head(self.tokens[at]) or self._is_thing(at):
                continue
            match = self.taken[at - 1]
            if match is not None and all(t.facet == "subject" for t in match.terms):
                self._shut(match)
            elif match is None and self._is_thing(at - 1) and not is_verb(self.tokens, at - 1):
                self.shut |= {at - 1, at}

    def _shut(self, match: Match) -> None:
        for i in range(match.start, match.end):
            self.taken[i] = None
        self.shut |= set(range(match.start, match.end + 1))

    def _is_thing(self, at: int) -> bool:
        """Whether a word is a subject's own name or alias, and nothing else."""
        terms = self._terms_of_word(at)
        return bool(terms) and all(t.facet == "subject" and not t.head for t in terms)

    def _qualified(self) -> None:
        """Of two things side by side ("robot dog", "lemon pie") the last is drawn; the first only says which."""
        for at in range(1, len(self.tokens)):
            left, right = self.taken[at - 1], self.taken[at]
            if left is None or right is None or left is right or self.tokens[at].breaks:
                continue
            if any(t.facet != "subject" for m in (left, right) for t in m.terms):
                continue
            if self.tokens[at - 1].form != self.tokens[at - 1].key or self.tokens[at - 1].text.isupper():
                continue  # "cats dogs birds" is a list
            for i in range(left.start, left.end):
                self.taken[i] = None
            self.shut |= set(range(left.start, left.end))
            if right.how == "head":  # a tennis glove is no boxing glove either
                self._shut(right)

    def _phrases(self) -> None:
        """Names of several words, longest first, and names written together or apart."""
        found: list[Match] = []
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
                if self.taken[at] is not None or at in self.shut or (at > start and self._parted(at)):
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

    def _parted(self, at: int) -> bool:
        """Whether a break stands before a word; a stroke ("purple/orange") does not part the words of a look."""
        return self.tokens[at].breaks and self.text[self.tokens[at - 1].end : self.tokens[at].start].strip() != "/"

    def _single(self, how: How) -> None:
        for at, token in enumerate(self.tokens):
            if (
                self.taken[at] is None
                and at not in self.shut
                and not (self.foreign and (len(token.form) < 4 or token.form in FOREIGN))
            ):
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

    def _match(self, start: int, end: int, terms: list[Term]) -> Match | None:
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
        return Match(start, end, kept, how)

    def _take(self, match: Match) -> None:
        if all(self.taken[i] is None and i not in self.shut for i in range(match.start, match.end)):
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
            if self.taken[at] is None and at not in self.shut and len(token.form) >= 6:
                stem = next((w for w in sorted(self.vocabulary.style_words) if token.form.startswith(w)), None)
                if stem is not None and token.form.removeprefix(stem) in _STYLE_ENDINGS:
                    groups = sorted(g for g in self.vocabulary.owners if g[0] == "style" and stem in g[1].split())
                    self._take(Match(at, at + 1, tuple(Term(f, n, own=False) for f, n in groups), "alias"))


def _ends_name(match: Match, word: str) -> bool:
    """Whether an alias is just the last word of the name that it stands for."""
    term = match.terms[0]
    return match.how == "alias" and term.facet == "subject" and term.name.split()[-1] == word
