"""The user's request split into atoms: single things that an image must show, each a question of its own.

A rule reads plain English: no model, no tables of what experts can do. What it cannot take apart stays whole, so that
nothing of the request is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from . import atom_words as lists
from .atom_phrases import (
    bare,
    is_verb,
    joined,
    last_phrase,
    noun_phrase,
    number,
    segments,
    singular,
    style_in_front,
    tells,
)
from .request import WHOLE, Wanted

MOST = 12
"""Atoms of one request; each is a question for every image."""
FACETS = frozenset(
    {"subject", "character", "concept", "clothing", "pose", "style", "background", "action", "lighting", "text"}
    | {"count", "attribute", "relation"}
)
"""Facets of atoms; `WHOLE` is added by the rule alone."""
MAX_CHARACTERS = 2000
_LONGEST = 160
"""Characters of one atom."""
_KEPT_FIRST = ("subject", "character", "text", "count", "relation", "attribute", "style", "background")
_QUOTED = re.compile(r"[\"“”«»„]([^\"“”«»„]{1,120})[\"“”«»„]|(?<!\w)['‘]([^'‘’]{2,120})['’](?!\w)")
_SAYS = re.compile(
    r"\W{0,3}\b(?:(?:that|which|who)\s+)?(?:says?|saying|reads?|reading|spells?|spelling|labell?ed|titled|called|"
    r"(?:with|has|having)?\s*(?:the\s+)?(?:words?|text|(?:sub)?title|caption|letters?|inscription|message|slogan|headline)"
    r"(?:\s+(?:saying|reading|that\s+(?:says|reads)))?)\s*:?\s*$",
    re.IGNORECASE,
)
_SAYS_PLAINLY = re.compile(
    r"\b(?:(?:(?:that|which|who)\s+)?(?:says?|saying|spells?|spelling|"
    r"with\s+the\s+(?:words?|text|title|caption|inscription|slogan))\s*:?\s+(?P<some>[A-Z0-9][^,.;:|!?\n]*?)|"
    r"(?:(?:that|which|who)\s+)?(?:reads?|reading)\s*:?\s+(?P<loud>(?:[A-Z0-9][A-Z0-9'’&-]+)(?:\s+[A-Z0-9'’&-]+)*))"
    r"(?=\s+(?:on|in|at|above|below|under|over|across|written|hanging|next|near|against|beside|with|by)\b|"
    r"\s*[,.;:|!?\n]|\s*$)"
)
"""What is to be written, without quotation marks: it begins in capitals."""
_SHOWS = re.compile(
    r"^(?:(?:the|this|an?)\s+)?(?:scene|image|picture|composition)\s+(?:shows?|depicts?|features?|portrays?)\s+(?=\S)",
    re.IGNORECASE,
)
_WEIGHT = re.compile(r":\s*[-+]?\d*\.?\d+\s*(?=[)\]])")
_TAGS = re.compile(r"<[^<>]{0,200}>|\bBREAK\b")
_BREAK = re.compile(r"(?<![\s,.;:!?])(?:[ \t]*[\r\n]\s*|\s+BREAK\b\s*)(?=\S)")
"""Where a line ends, which parts as a comma does."""
_CLAUSE = re.compile(r"[,;|\n!?…。，、；]+|\.(?=\s|$)|:(?=\s)|\s[-–—]{1,2}\s|\swhile\s(?=(?:an?|the)\s)")
_LEAD = re.compile(
    r"^(?:please\s+)?(?:(?:can|could|would)\s+you\s+)?(?:please\s+)?"
    r"(?:(?:i(?:'d| would)?\s+(?:want|like|need)(?:\s+to\s+see)?)|(?:draw|paint|generate|create|make|show|render|give|"
    r"imagine|depict|illustrate)(?:\s+(?:me|us))?)\s+(?=\S)",
    re.IGNORECASE,
)
_IN_STYLE_OF = re.compile(r"^(.*?)\b(?:in\s+(?:the\s+)?)?styles?\s+of\s+(?:an?\s+|the\s+)?(.+)$", re.IGNORECASE)
_CAMERA = re.compile(r"^(?:\d+\s?mm(?: lens| film)?|f/?\d+(?:\.\d+)?|iso\s?\d+|\d+k|canon.*|nikon.*|kodak.*)$")
_LAST_WORD = {"style": "style", "background": "background", "backdrop": "background"}
_TOKEN = re.compile(r"[\w'’&°+#.-]*\w")
_OF = frozenset({"of", "showing", "depicting", "featuring", "shows", "depicts", "features", "portrays"})
_NOT = frozenset({"without", "instead of", "rather than"})
_LIKE = frozenset({"as", "like", "to", "in the shape of", "shaped like"})
_WITH = frozenset({"with", "has", "have", "having", "filled with", "full of", "covered in", "covered with"})
_WORN = frozenset({"wearing", "dressed in", "dressed as"})
_AGAIN = frozenset({"", "and", "&", "plus", "there is", "there are", "besides"})
_IS = frozenset({"is", "are", "that is", "that are", "who is", "who are", "which is", "which are"})
_WHERE = frozenset({"in", "on", "at", "under", "by", "near", "through", "over", "against", ""})


def atoms(words: str, known: Mapping[str, str] | None = None) -> tuple[Wanted, ...]:
    """What an image must show to be what ``words`` ask for: at most `MOST` atoms, in reading order.

    Facets and the form of their texts, without articles in front:

    - subject: a thing, in the singular ("fox", "bowl of fruit"); count: "three cats"; attribute: the thing with what is
      said of it ("red fox", "cat with a hat"); relation: "dog on a chair", "man riding a horse"; clothing: "red scarf";
      action: "running".
    - style: "watercolor", "oil painting"; background: "beach", "night"; concept: "close-up", "soft lighting".
    - text: what is to be written, from quotation marks. `WHOLE`: all words, asked only where no atom covers a word that
      asks for something.

    Words about quality ("masterpiece, 8k") are not asked after: nobody sees them. What is ruled out ("without a hat")
    is left out: atoms say what must be there.

    Args:
        words: the request, without orders; weights in brackets are passed over. English; what is not stays whole.
        known: a stretch of the words -> its facet, where somebody knows it ("ghibli" -> "style").
    """
    text = plain(words)
    whole = Wanted(facet=WHOLE, text=text or words.strip()[:MAX_CHARACTERS] or "?")
    if not _is_latin(text):
        return (whole,)
    sorter = _Sorter({bare(stretch): facet for stretch, facet in (known or {}).items()})
    rest = _without_quotes(text, sorter)
    for clause in _CLAUSE.split(rest):
        sorter.clause(" ".join(clause.split()))
    found = list(dict.fromkeys(sorter.found))
    kept = _bounded(found, MOST)
    if len(kept) < len(found) or not kept or not covered(rest, kept):
        return (*_bounded(found, MOST - 1), whole)
    return tuple(kept)


def cleaned(said: Iterable[Wanted], words: str) -> tuple[Wanted, ...]:
    """Atoms that a model of language names, as far as they are the user's: at most `MOST`, none twice, each of a known
    facet and sharing a word with ``words``; `WHOLE` besides where they leave a word uncovered. None if none is left.
    """
    text = plain(words)
    own = {_stem(word) for word in _content(text)}
    kept: dict[str, Wanted] = {}
    for atom in said:
        tidy = plain(atom.text)[:_LONGEST].strip()
        if tidy and atom.facet in FACETS and own.intersection(_stem(word) for word in _content(tidy)):
            kept.setdefault(tidy.casefold(), Wanted(facet=atom.facet, text=tidy))
    found = list(kept.values())
    if found and (len(found) > MOST or not covered(text, found)):
        return (*found[: MOST - 1], Wanted(facet=WHOLE, text=text))
    return tuple(found)


def covered(words: str, found: Iterable[Wanted]) -> bool:
    """Whether every word that asks for something stands in one of the atoms."""
    asked = {_stem(word) for word in _content(words)}
    return asked <= {_stem(word) for atom in found for word in _tokens(atom.text)}


def plain(words: str) -> str:
    """A request without weights, brackets and tags, its blanks tidied, at most `MAX_CHARACTERS`."""
    text = _TAGS.sub(" ", _WEIGHT.sub("", _BREAK.sub(", ", words[:MAX_CHARACTERS])))
    return " ".join(re.sub(r"[()\[\]{}\\]+", " ", text).split())


def _is_latin(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    return 2 * sum(c < "ɐ" for c in letters) > len(letters)


def _without_quotes(text: str, into: _Sorter) -> str:
    out, at = "", 0
    for match in _QUOTED.finditer(text):
        out += _SAYS.sub(" ", text[at : match.start()])
        into.add("text", match[1] or match[2])
        at = match.end()

    def plainly(match: re.Match[str]) -> str:
        into.add("text", match["some"] or match["loud"])
        return " "

    return _SAYS_PLAINLY.sub(plainly, out + text[at:])


def _bounded(found: Sequence[Wanted], most: int) -> list[Wanted]:
    """The most telling ones, in their order."""
    rank = {facet: i for i, facet in enumerate(_KEPT_FIRST)}
    best = sorted(range(len(found)), key=lambda i: (rank.get(found[i].facet, len(rank)), i))[:most]
    return [found[i] for i in sorted(best)]


_UNSEEN = lists.INTENSIFIERS | {"style", "background", "backdrop", "styled", "beautiful", "perfect", "epic", "best"}
_QUALITY = sorted(lists.QUALITY - _UNSEEN - {"sharp", "professional"}, key=len, reverse=True)


def _tokens(text: str) -> list[str]:
    return [t.casefold().removesuffix("'s").removesuffix("’s").strip("'’") for t in _TOKEN.findall(text)]


def _content(text: str) -> list[str]:
    """The words that ask for something that can be seen."""
    free = " , ".join("" if _CAMERA.match(part.strip().casefold()) else part.casefold() for part in _CLAUSE.split(text))
    for phrase in _QUALITY:
        if phrase in free:
            free = re.sub(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])", " ", free)
    free = re.sub(r"\b(?:without|no|instead\s+of|rather\s+than)\s+(?:an?\s+|any\s+|the\s+)?\w+", " ", free)
    return [t for t in _tokens(free) if t not in lists.FILLER and t not in _UNSEEN]


def _stem(word: str) -> str:
    """A word without its plural, as coverage compares them; a number in words."""
    word = lists.GROUPS.get(word, lists.PRESENT.get(word, number(word) or word))
    return singular(re.sub(r"^\d\+?(?=(?:girl|boy)s?$)", "", word))


class _Sorter:
    """Takes clauses apart and gathers atoms; ``main`` is the thing that was named last at the head of a clause."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self.known = known
        self.found: list[Wanted] = []
        self.main = ""

    def add(self, facet: str, text: str) -> None:
        tidy = " ".join(text.split())[:_LONGEST].strip(" .'’-")
        if tidy and all(tidy.casefold() != one.text.casefold() for one in self.found):
            self.found.append(Wanted(facet=facet, text=tidy))

    def clause(self, text: str) -> None:
        """One clause: its frame (style, background, medium, view) is taken off, the rest are things."""
        text = re.sub(r"\s+please$", "", _SHOWS.sub("", _LEAD.sub("", text.strip(" .-–—'’"))), flags=re.IGNORECASE)
        low, said = bare(text), text.casefold()
        if not low or {low, said} & lists.QUALITY or _CAMERA.match(said) or set(_tokens(said)) <= lists.FILLER:
            return
        if low in self.known:
            self.add(self.known[low], low)
        elif low in lists.VIEWS:
            self.add("concept", low)
        elif low in lists.STYLES or (said.endswith(" style") and not segments(low.split())[0][0] and not joined(low)):
            self.add("style", low)
        elif low in lists.TIMES:
            self.add("background", low)
        elif len(low.split()) == 1 and tells(low) and low not in lists.MATERIALS and not said.endswith("ground"):
            self.add("attribute" if self.main else "concept", f"{low} {self.main}")
        elif low == said and is_verb(low):
            self.add("action", low)
        else:
            self._framed(text)

    def _framed(self, text: str) -> None:
        if found := _IN_STYLE_OF.match(text):
            self.add("style", found[2])
            return self._rest(found[1])
        tokens = text.split()
        if facet := _LAST_WORD.get(tokens[-1].casefold()):
            said, rest = last_phrase(tokens[:-1])
            if said:
                self.add(facet, " ".join(said))
                return self._rest(" ".join(rest))
        for size in range(min(4, len(tokens) - 1), 0, -1):  # "a house in watercolor", "a fox as pixel art"
            tail = bare(" ".join(tokens[-size:]))
            if tokens[-size - 1].casefold() in ("in", "as") and tail in lists.STYLES:
                self.add("style", tail)
                return self._rest(" ".join(tokens[: -size - 1]))
        return self._medium(tokens)

    def _rest(self, text: str) -> None:
        if text.strip():
            self.clause(text)

    def _medium(self, tokens: Sequence[str]) -> None:
        """``an oil painting of a house``, ``close-up of a face``; a medium that stands alone ("digital painting")."""
        for at, token in enumerate(tokens[:6]):
            if at and token.casefold() in _OF:
                low = bare(" ".join(tokens[:at]))
                if _is_medium(low):
                    self._say_medium(low)
                    return self._rest(" ".join(tokens[at + 1 :]))
                break
        low = bare(" ".join(tokens))
        if _is_medium(low) and len(low.split()) <= 4 and not joined(low):
            return self._say_medium(low)
        return self._things(tokens)

    def _say_medium(self, low: str) -> None:
        told = [w for w in low.split() if w not in lists.INTENSIFIERS and w not in lists.QUALITY]
        if low in lists.VIEWS or (told and told[-1] in ("shot", "view")) or low == "portrait":
            self.add("concept", low)
        elif told and not (len(told) == 1 and told[0] in lists.EMPTY_MEDIA):
            self.add("style", " ".join(told))

    def _things(self, tokens: Sequence[str]) -> None:
        """Noun phrases and what stands between them."""
        low = bare(" ".join(tokens))
        if len(tokens) <= 4 and not joined(low):
            last = low.split()[-1]
            if last in lists.LIGHT or (last in lists.BODY and self.main and len(low.split()) > 1):
                return self.add("concept" if last in lists.LIGHT else "attribute", low)
            if last in lists.GARMENTS and self.main and not segments(tokens, named=True)[0][0]:
                return self.add("clothing", low)
        parts = segments(tokens, named=bool(self.main))
        opening = parts[0][0] if parts else ""
        said_again = bool(parts) and not opening and _is_pronoun(bare(" ".join(parts[0][1])))  # "one with red hair"
        told = said_again or (opening and (is_verb(opening.split()[0]) or opening in _WITH | _WORN))
        subject, worn = self.main if told else "", ""
        for at, (joint, phrase) in enumerate(parts):
            # "with a hat and a scarf": both are of the same subject; not so "with a hat and a dog with a scarf".
            after = parts[at + 1][0] if at + 1 < len(parts) else ""
            own = bool(after) and (after in _WITH | _WORN or is_verb(after.split()[0]))
            joint = worn if joint == "and" and worn and not own else joint
            noun = self._phrase(subject, joint, phrase, opening if joint in _IS else "")
            worn = joint if joint in _WITH | _WORN else ""
            subject = noun if noun and (not subject or joint in _AGAIN) else subject
        self.main = subject or self.main
        return None

    def _phrase(self, subject: str, joint: str, phrase: Sequence[str], opening: str) -> str:
        """Says of a phrase what it is to the subject; returns its noun, if it is a thing of its own."""
        low, verb = bare(" ".join(phrase)), bool(joint) and is_verb(joint.split()[0])
        if joint in _NOT or (phrase and phrase[0].casefold() in ("no", "not")):
            return ""
        if not phrase or low in lists.POSITIONS or _is_pronoun(low):
            if verb:
                self.add("action", f"{joint} {low}")
            return ""
        if low in self.known:
            self.add(self.known[low], low)
            return low if self.known[low] in ("subject", "character") else ""
        if joint == "by" and phrase[0][:1].isupper():
            self.add("style", low)
            return ""
        if not subject or joint in _AGAIN:
            return "" if self._place(joint, low) else self._noun(phrase)
        if joint in _IS:
            return self._is(subject, phrase, opening)
        if self._said_of(subject, joint, phrase):
            return ""
        placed = self._place(joint, low)
        if placed and not verb:
            return ""
        if joint in ("in", "under", "by") and low.split()[-1] in lists.LIGHT:
            self.add("concept", low)
            return ""
        self.add("relation", f"{subject} {joint} {' '.join(phrase)}")
        vague = verb and len(joint.split()) == 1 and low == " ".join(phrase).casefold() and singular(low) == low
        return "" if placed or vague or joint in _LIKE or joint.endswith(" like") else self._noun(phrase)

    def _is(self, subject: str, phrase: Sequence[str], opening: str) -> str:
        """``the cat is black``; ``next to the pig is a robin``."""
        low = bare(" ".join(phrase))
        if all(tells(word) or word == "and" for word in low.split()):
            self.add("attribute", f"{low} {subject}")
            return ""
        noun = self._noun(phrase)
        if opening and noun:
            self.add("relation", f"{noun} {opening} {subject}")
        return noun

    def _said_of(self, subject: str, joint: str, phrase: Sequence[str]) -> bool:
        """Whether a phrase tells of the subject: what it has, wears, is made of."""
        if joint in _WITH:
            said = "with" if joint in ("has", "have", "having") else joint
            self.add("attribute", f"{subject} {said} {' '.join(phrase)}")
        elif joint in _WORN or (joint == "in" and phrase[-1].casefold() in lists.GARMENTS):
            self.add("clothing", bare(" ".join(phrase)))
        elif joint in ("made of", "made from", "made out of"):
            self.add("attribute", f"{subject} {joint} {bare(' '.join(phrase))}")
        else:
            return False
        return True

    def _place(self, joint: str, low: str) -> bool:
        """Whether a phrase says where or when: it is a background then."""
        last = joint.split()[-1] if joint else ""
        if not low or last not in _WHERE:
            return False
        heads = {low.split()[-1], low.split(" of ")[0].split()[-1]}
        timed = low in lists.TIMES or (last and low.split()[-1] in lists.TIMES)
        if timed or (last in ("in", "on", "at") and heads & lists.PLACES):
            self.add("background", low)
            return True
        return False

    def _noun(self, phrase: Sequence[str]) -> str:
        """A thing with its count and what is said of it; returns the thing, in the singular."""
        rest = [w for i, w in enumerate(phrase) if i or w.casefold() not in lists.DETERMINERS]
        if named := style_in_front(rest):
            self.add("style", " ".join(rest[:named]))
            rest = rest[named:]
        noun, count, told = noun_phrase(rest)
        self.add("subject", noun)
        self.add("attribute" if count.split(" ")[0] in lists.VAGUE else "count", count)
        for word in told[:3]:
            if word.casefold() in lists.ADJECTIVES or word.casefold() not in lists.QUALITY:
                self.add("attribute", f"{word} {noun}")
        return noun


def _is_pronoun(low: str) -> bool:
    return low in lists.PRONOUNS or low.startswith("one of ")


def _is_medium(low: str) -> bool:
    return low in lists.VIEWS or low in lists.STYLES or (bool(low) and singular(low.split()[-1]) in lists.MEDIA)
