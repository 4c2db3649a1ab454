"""English noun phrases and what joins them, by rule: from the words of a clause to things, counts and looks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from . import atom_words as lists

_CONNECTORS = frozenset(tuple(p.split()) for p in lists.PREPOSITIONS)
_LENGTHS = sorted({len(joint) for joint in _CONNECTORS}, reverse=True)
_OPENINGS = frozenset(joint[0] for joint in _CONNECTORS)
_VERB = re.compile(r"^[a-z]{2,}ing$")
_TAG_COUNT = re.compile(r"^(\d)\+?(girl|boy|woman|man|other|person|cat|dog)s?$")
_BE = frozenset({"is", "are", "that is", "that are", "who is", "who are", "which is", "which are", "while"})


def singular(word: str) -> str:
    """An English noun without its plural: ``cats`` -> ``cat``; others as they are."""
    low = word.casefold()
    if low in lists.IRREGULAR:
        return lists.IRREGULAR[low]
    if low in lists.UNCOUNTED or len(low) < 4 or not low.endswith("s") or low.endswith(("ss", "us", "is")):
        return word
    if low.endswith("ies"):
        return word[:-3] + "y"
    if low.endswith(("xes", "ches", "shes", "sses", "zes", "oes")):
        return word[:-2]
    return word[:-1]


def number(word: str) -> str:
    """A count in words ("3" -> "three"); "" for what counts nothing."""
    low = word.casefold()
    return lists.NUMBERS.get(low, lists.ALSO_NUMBERS.get(low, low if low.isdigit() and 1 < int(low) < 1000 else ""))


def tells(word: str) -> bool:
    """Whether a word before a noun says what it is like."""
    low = word.casefold()
    if low in lists.ADJECTIVES or all(part in lists.ADJECTIVES for part in low.split("-")):
        return True
    return len(low) > 5 and low.endswith(("ous", "ful", "ish", "less", "ed", "shaped"))


def bare(text: str) -> str:
    """As phrases are compared: lower case, without determiners in front, "style" and "background" behind."""
    tokens = text.casefold().split()
    while tokens and tokens[0] in lists.DETERMINERS:
        tokens = tokens[1:]
    return " ".join(tokens).removesuffix(" style").removesuffix(" background")


def is_verb(word: str) -> bool:
    """Whether it is a verb in -ing, and no noun that looks like one."""
    return bool(_VERB.match(word.casefold())) and word.casefold() not in lists.NOT_VERBS


def segments(tokens: Sequence[str], *, named: bool = False) -> list[tuple[str, list[str]]]:
    """(what joins, noun phrase) in order; the first joins nothing. A verb joins with what follows it.

    ``named``: whether a thing was named before, so that the clause may begin with a verb of its.
    """
    out: list[tuple[str, list[str]]] = [("", [])]
    at = 0
    while at < len(tokens):
        phrase = out[-1][1]
        if joint := _verb_at(tokens, at, phrase, named=named and len(out) == 1 and not phrase):
            if len(phrase) > 1 and phrase[-1].casefold() in ("that", "which", "who"):
                phrase.pop()
            if not phrase and out[-1][0] in _BE:
                out[-1] = (joint, [])
            else:
                out.append((joint, []))
            at += 1
        elif (found := _joint_at(tokens, at)) and not (found == ("and",) and _two_looks(tokens, at)):
            before = out[-1][0]
            if not phrase and before and tuple(before.split()) not in _CONNECTORS:
                out[-1] = (" ".join([before, *found]), [])
            else:
                out.append((" ".join(found), []))
            at += len(found)
        else:
            phrase.append(tokens[at])
            at += 1
    return [(joint, phrase) for joint, phrase in out if joint or phrase]


def joined(text: str) -> bool:
    """Whether a text is more than one phrase."""
    return any(joint for joint, _ in segments(text.split())[1:])


def last_phrase(tokens: Sequence[str]) -> tuple[list[str], list[str]]:
    """(the last phrase, all before it without what joins the two): "a house in dark ink" -> dark ink, a house."""
    end = len(tokens)
    while end and _parts(tokens, end - 1):
        end -= 1
    start = end
    while start and end - start < _LONGEST and not _parts(tokens, start - 1):
        start -= 1
    rest = start
    while rest and _parts(tokens, rest - 1):
        rest -= 1
    return list(tokens[start:end]), list(tokens[:rest])


_LONGEST = 6
"""Words of a style or a background."""


def _parts(tokens: Sequence[str], at: int) -> bool:
    """Whether a word stands between phrases."""
    low = tokens[at].casefold()
    return low in lists.DETERMINERS or ((low,) in _CONNECTORS and not _two_looks(tokens, at))


def noun_phrase(phrase: Sequence[str]) -> tuple[str, str, list[str]]:
    """(the thing in the singular, its count or "", what it is like): "three red cats" -> cat, three cats, [red]."""
    words = [w for w in phrase if w.casefold() not in lists.INTENSIFIERS]
    while words and words[0].casefold() in lists.DETERMINERS:
        words = words[1:]
    if len(words) > 3 and words[0].casefold() == "group" and words[1].casefold() == "of" and number(words[2]):
        words = words[2:]
    count = ""
    if tagged := _TAG_COUNT.match(words[0].casefold()) if words else None:
        words = [f"{tagged[2]}s" if tagged[1] != "1" else tagged[2], *words[1:]]
        count = number(tagged[1])
    elif len(words) > 2 and words[1].casefold() == "of" and words[0].casefold() in lists.GROUPS:
        count, words = lists.GROUPS[words[0].casefold()], words[2:]
    elif len(words) > 1 and (count := "one" if words[0].casefold() == "one" else number(words[0])):
        words = words[2:] if words[1].casefold() == "of" and len(words) > 2 else words[1:]
        words = words[1:] if len(words) > 1 and words[0].casefold() in lists.DETERMINERS else words
    told: list[str] = []
    while len(words) > 1 and tells(words[0]) and words[1].casefold() != "of" and not _is_compound(words):
        if words[1].casefold() in ("and", "&") and len(words) > 3:
            told, words = [*told, f"{words[0]} and {words[2]}"], words[3:]
        else:
            told, words = [*told, words[0]], words[1:]
    if not words:
        return "", "", []
    return _of_one(words), f"{count} {' '.join(words)}" if count else "", told


def _is_compound(words: Sequence[str]) -> bool:
    low = [w.casefold() for w in words]
    return any(" ".join([*low[: n - 1], singular(low[n - 1])]) in lists.COMPOUNDS for n in (2, 3) if n <= len(low))


def style_in_front(phrase: Sequence[str]) -> int:
    """How many words at the front of a phrase name a style of the thing that follows; 0: none."""
    low = [w.casefold() for w in phrase]
    return next((n for n in (3, 2, 1) if n < len(low) and " ".join(low[:n]) in lists.STYLES_IN_FRONT), 0)


def _of_one(words: Sequence[str]) -> str:
    """A noun phrase in the singular: its head before an ``of``, else its last word."""
    low = [w.casefold() for w in words]
    at = low.index("of") - 1 if "of" in low[1:] else len(words) - 1
    return " ".join(singular(w) if i == at else w for i, w in enumerate(words))


def _verb_at(tokens: Sequence[str], at: int, phrase: Sequence[str], *, named: bool) -> str:
    """The verb that stands here, as it is asked for; "" where none does."""
    word = tokens[at].casefold()
    ahead = tokens[at + 1].casefold() if at + 1 < len(tokens) else ""
    led = not ahead or bool(_joint_at(tokens, at + 1)) or ahead in lists.DETERMINERS
    if is_verb(word) and (_has_noun(phrase) or (named and led) or (not phrase and at and _be_before(tokens, at))):
        return word
    if _has_noun(phrase) and (word in lists.PRESENT or (word.endswith("ed") and ahead and _joint_at(tokens, at + 1))):
        return lists.PRESENT.get(word, word)
    return ""


def _be_before(tokens: Sequence[str], at: int) -> bool:
    return tokens[at - 1].casefold() in ("is", "are", "while")


def _joint_at(tokens: Sequence[str], at: int) -> tuple[str, ...]:
    if tokens[at].casefold() in _OPENINGS:
        for length in _LENGTHS:
            if (joint := tuple(t.casefold() for t in tokens[at : at + length])) in _CONNECTORS:
                return joint
    return ()


def _two_looks(tokens: Sequence[str], at: int) -> bool:
    """Whether an ``and`` stands between two words for one thing: "black and white cat"."""
    return 0 < at < len(tokens) - 1 and tells(tokens[at - 1]) and tells(tokens[at + 1])


def _has_noun(phrase: Sequence[str]) -> bool:
    """Whether a phrase has a noun already, so that a word in -ing after it is its verb."""
    words = [w for w in phrase if w.casefold() not in lists.DETERMINERS and not number(w)]
    return bool(words) and not tells(words[-1]) and words[-1].casefold() != "of"
