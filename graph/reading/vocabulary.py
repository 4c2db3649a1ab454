"""All names under which the skills of one family can be called, indexed for reading prompts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..experts.expert import Expert, Facet, Skill
from .models import BASE
from .rules import NEUTRAL, ReadingRules
from .words import ART, DESCRIBING, STOP, STYLE_HEADS, keys_of, tokenise

MAX_WORDS = 8
_VAGUE = frozenset(["sign", "piece", "box", "pot", "bar", "machine", "wedge", "food"])
"""Last words of names that do not say what the thing is: a sign is no stop sign."""
Group = tuple[Facet, str]


@dataclass(frozen=True)
class Term:
    """One name of one skill. ``own``: the skill's name or trigger rather than an alias; ``head``: only the last word of
    its name.
    """

    facet: Facet
    name: str
    own: bool
    head: bool = False

    @property
    def group(self) -> Group:
        return self.facet, self.name


@dataclass
class Vocabulary:
    """Names of skills. Skills of the same facet and name form a group, whoever has them.

    Attributes:
        terms: words -> the terms they may mean, the skill's own names first.
        joined: the same without blanks, for ``pixelart`` and ``jelly fish``.
        bags: names of looks by their words alone, for ``waves of the sea`` and ``hand-drawn in pencil``.
        words: every word in any own name or alias, for mending typos.
        rules: how the base wants prompts read.
        owners: group -> who has it (an expert's id or ``base``) and the skill as they describe it.
    """

    rules: ReadingRules = NEUTRAL
    terms: dict[tuple[str, ...], list[Term]] = field(default_factory=dict)
    joined: dict[str, list[Term]] = field(default_factory=dict)
    bags: dict[frozenset[str], list[Term]] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    style_words: set[str] = field(default_factory=set)
    owners: dict[Group, list[tuple[str, Skill]]] = field(default_factory=dict)

    @classmethod
    def of(cls, experts: Iterable[Expert], base: Expert | None = None, rules: ReadingRules = NEUTRAL) -> Vocabulary:
        """Names from the cards of ``base`` and ``experts``."""
        made = cls(rules)
        for owner, skills in [(BASE, base.skills if base else ()), *((e.id, e.skills) for e in experts)]:
            for skill in skills:
                made._add(owner, skill)
        for terms in (*made.terms.values(), *made.joined.values(), *made.bags.values()):
            terms.sort(key=lambda t: (t.head, not t.own))
        return made

    def _add(self, owner: str, skill: Skill) -> None:
        name = " ".join(keys_of(skill.name))
        if not name:
            return
        self.owners.setdefault((skill.facet, name), []).append((owner, skill))
        own = Term(skill.facet, name, own=True)
        words = keys_of(skill.name)
        self._index(words, own)
        self._index(keys_of(skill.trigger), own)
        if skill.facet in ("style", "background"):
            self._index((*words, skill.facet), own)
        if skill.facet == "background" and self.rules.is_plain(words):
            # "on a red background", "red backdrop", "on plain red"
            for tail in ("background", "backdrop"):
                self._index((*words[1:], tail), own)
                self._index((*words, tail), own)
        if skill.facet == "style":
            self.style_words |= {w for w in words if len(w) >= 5}
        for alias in skill.aliases:
            keys = keys_of(alias)
            plural = len(keys) == 1 and tokenise(alias)[0].form != keys[0]
            if _names_something(keys, skill, self.rules, plural=plural):
                self._index(keys, Term(skill.facet, name, own=False))
        head = _head(words)
        if skill.facet == "subject" and len(words) > 1 and head and _names_something(head, skill, self.rules):
            self._index(head, Term(skill.facet, name, own=False, head=True), spelt=False)

    def _index(self, words: tuple[str, ...], term: Term, *, spelt: bool = True) -> None:
        if not words or len(words) > MAX_WORDS:
            return
        terms = self.terms.setdefault(words, [])
        if not any(t.group == term.group for t in terms):
            terms.append(term)
        bag = frozenset(w for w in words if w not in STOP)
        if term.facet in ("style", "background") and len(bag) > 1:
            alike = self.bags.setdefault(bag, [])
            if not any(t.group == term.group for t in alike):
                alike.append(term)
        if spelt:
            self.words.update(w for w in words if len(w) >= 4)
            together = self.joined.setdefault("".join(words), [])
            if not any(t.group == term.group for t in together):
                together.append(term)


def _head(words: tuple[str, ...]) -> tuple[str, ...]:
    """The word of a thing's name that says what it is: the last, or the last before "with" and the like."""
    if words[-1:] and words[-1] in _VAGUE:
        return ()
    for at, word in enumerate(words):
        if word in ("with", "on", "in") and at:
            return words[at - 1 : at]
        if word in ("and", "of"):
            return ()
    return words[-1:]


def _names_something(words: tuple[str, ...], skill: Skill, rules: ReadingRules, *, plural: bool = False) -> bool:
    """Whether an alias can stand for a thing: not for words that only describe, and not for filler.

    A plural ("fries") names things, whatever its singular does.
    """
    if not words:
        return False
    if len(words) > 1 or skill.facet != "subject":
        return not all(w in STOP or w in rules.generic for w in words)
    word = words[0]
    if len(word) < 2 or word.isdigit() or (len(word) > 5 and word.endswith("ing")):
        return False
    dull = (STOP, rules.generic, STYLE_HEADS, ART, *(() if plural else (DESCRIBING,)))
    return not any(word in words for words in dull)
