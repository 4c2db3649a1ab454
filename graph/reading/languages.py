"""Prompts in other languages, put into English word by word: enough to find what they name, not to be read aloud.

Looks and things come from a lexicon, inflected words by their stems, German compounds by their parts. A word that the
lexicon lacks stays as it is, and is named as not understood.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ..embedding import word_ranks
from .dictionary import is_word
from .grammar import is_foreign
from .lexicon import LANGUAGES, UNSPACED, Lexicon, lexicon, tokens_of
from .request import Place, Request
from .words import FOREIGN, STOP, fold, tokenise

_PLACES = frozenset(["in", "on", "under", "in front of", "behind", "against"])
_POSTPOSED = {"ja": _PLACES | {"without", "instead of", "not", "as", "like", "with"}, "zh": _PLACES}
_COLOURS = frozenset(["red", "blue", "green", "yellow", "orange", "purple", "pink", "white", "black", "gray", "plain"])
_BREAKS = re.compile(r"[.,;:!?()\[\]{}|/\n\r\"“”„«»「」『』—–…、。，；：！？・]")
_HAN, _KANA, _CYRILLIC = re.compile(r"[一-鿿㐀-䶿]"), re.compile(r"[぀-ヿ]"), re.compile(r"[Ѐ-ӿ]")
_LATIN = re.compile(r"[A-Za-zÀ-ɏ]")
LEAST_OF_COMPOUND = 3
_COMPOUND_HEADS = frozenset(["style", "background", "drawing", "photo", "pencil sketch", "pixel art", "neon"])


@dataclass(frozen=True)
class _Item:
    english: str
    at: int
    to: int
    known: bool = True


def language_of(text: str) -> str:
    """The language of a prompt, of those that the lexicon has; "" for English and all others."""
    han, kana, cyrillic = (len(p.findall(text)) for p in (_HAN, _KANA, _CYRILLIC))
    latin = len(_LATIN.findall(text))
    if kana + han and 2 * (kana + han) > latin / 2:
        return "ja" if kana else "zh"
    if cyrillic > latin:
        return "ru"
    words = [fold(m[0]) for m in tokens_of(text)][:200]
    ranks = word_ranks()
    if not any(w not in ranks or (w in FOREIGN and w not in STOP) for w in words if not w.isdigit()):
        return ""
    best, score = "", 0.0
    for language in LANGUAGES:
        if language in UNSPACED or language == "ru":
            continue
        known = lexicon(language)
        little = {w for w in words if len(w) > 1 and w in known.little and w not in STOP}
        names = {w for w in words if w in known.names and w not in known.little and not is_word(w)}
        owned = sum(w in known.little or w in known.names for w in words)
        english = sum(w not in known.little and (w in STOP or (w in ranks and w not in known.names)) for w in words)
        found = 2 * len(little) + 2 * len(names) - english + 0.1 * owned
        if (little or names) and 2 * owned >= len(words) and found > max(score, 0.5):
            best, score = language, found
    return best


def is_read(request: Request) -> bool:
    """Whether a prompt's words are of a language that is read here: English, or one that the lexicon has."""
    words = [t for t in tokenise(request.plain or request.text) if any(c.isalpha() for c in t.text)]
    if request.language or not words:
        return bool(request.language) or not any(c.isalpha() for c in request.plain or request.text)
    return not is_foreign(words) and 2 * sum(is_word(t.form, t.key) for t in words) >= len(words)


def in_english(text: str, language: str) -> tuple[str, tuple[Place, ...]]:
    """A text in English, word by word, and which part of it stands for which part of the text."""
    known = lexicon(language)
    items = _unspaced(text, known) if language in UNSPACED else _spaced(text, known)
    items = _ordered(_without_nouns(text, items) if language == "zh" else items, language)
    out = ""
    places: list[Place] = []
    for item in items:
        if item.english and out and item.english[0] not in ",.;":
            out += " "
        start = len(out)
        out += item.english
        if item.english:
            places.append(Place(start=start, end=len(out), at=item.at, to=item.to))
    return out, tuple(places)


# -- languages that write blanks


def _spaced(text: str, known: Lexicon) -> list[_Item]:
    tokens = tokens_of(text)
    items: list[_Item] = []
    at = 0
    last = 0
    while at < len(tokens):
        items += _breaks(text, last, tokens[at].start())
        size, english = _longest(text, tokens, at, known)
        end = tokens[at + size - 1].end()
        items.append(
            _Item(english if english is not None else tokens[at][0], tokens[at].start(), end, english is not None)
        )
        last = end
        at += size
    return items + _breaks(text, last, len(text))


def _longest(text: str, tokens: list[re.Match[str]], at: int, known: Lexicon) -> tuple[int, str | None]:
    """(words taken, their English or None) for the longest entry that begins at a word."""
    most = 1
    while most < known.longest and at + most < len(tokens):
        if _BREAKS.search(text, tokens[at + most - 1].end(), tokens[at + most].start()):
            break
        most += 1
    for size in range(most, 0, -1):
        words = [t[0] for t in tokens[at : at + size]]
        folded = tuple(fold(w) for w in words)
        if folded in known.exact:
            return size, known.exact[folded]
        if size == 1 and (len(words[0]) < 4 or fold(words[0]) in word_ranks()):
            continue  # a short word, or an English one among the others, has no stem to go by
        stems = tuple(known.stem(w) for w in words)
        if stems in known.stems:
            return size, known.stems[stems]
    return 1, _compound(fold(tokens[at][0]), known) if known.language == "de" else None


def _compound(word: str, known: Lexicon) -> str | None:
    """ "neonstil" -> "neon style": a name and the word for looks or backgrounds, written as one."""
    for cut in range(len(word) - LEAST_OF_COMPOUND, LEAST_OF_COMPOUND - 1, -1):
        head = known.exact.get((word[cut:],)) or known.stems.get((known.stem(word[cut:]),))
        if head not in _COMPOUND_HEADS:
            continue  # a thing's compound is another thing: "Einhornwald" has no unicorn
        for ending in ("", "s", "n", "en", "er", "es"):
            first = word[:cut].removesuffix(ending) if ending else word[:cut]
            english = known.exact.get((first,)) if len(first) >= LEAST_OF_COMPOUND else None
            if english:
                return f"{english} {head}"
    return None


# -- languages that do not


def _unspaced(text: str, known: Lexicon) -> list[_Item]:
    items: list[_Item] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char.isspace():
            at += 1
        elif _BREAKS.match(char):
            items.append(_Item(",", at, at + 1))
            at += 1
        elif _LATIN.match(char) or char.isdigit():
            end = at
            while end < len(text) and (_LATIN.match(text[end]) or text[end] in "'-" or text[end].isdigit()):
                end += 1
            items.append(_Item(text[at:end], at, end))
            at = end
        else:
            sizes = range(min(known.longest, len(text) - at), 0, -1)
            size = next((n for n in sizes if tuple(text[at : at + n]) in known.exact), 0)
            if size:
                items.append(_Item(known.exact[tuple(text[at : at + size])], at, at + size))
            elif items and not items[-1].known and items[-1].to == at:
                items[-1] = _Item(items[-1].english + char, items[-1].at, at + 1, known=False)
            else:
                items.append(_Item(char, at, at + 1, known=False))
            at += size or 1
    return _whole_runs(text, items)


def _whole_runs(text: str, items: list[_Item]) -> list[_Item]:
    """A single sign beside ones that are not known is part of a word that is not known."""
    kept: list[_Item] = []
    for at, item in enumerate(items):
        alone = (
            item.known and item.to - item.at == 1 and _HAN.match(text[item.at]) and item.english not in ("", "and", ",")
        )
        beside = [items[i] for i in (at - 1, at + 1) if 0 <= i < len(items)]
        if (
            alone
            and item.english not in _PLACES
            and any(not b.known and (b.to == item.at or b.at == item.to) for b in beside)
        ):
            item = _Item(text[item.at : item.to], item.at, item.to, known=False)
        if kept and not kept[-1].known and not item.known and kept[-1].to == item.at:
            kept[-1] = _Item(kept[-1].english + item.english, kept[-1].at, item.to, known=False)
        else:
            kept.append(item)
    return kept


# -- order


def _breaks(text: str, start: int, end: int) -> list[_Item]:
    """Punctuation between two words, as one item."""
    match = _BREAKS.search(text, start, end)
    return (
        [
            _Item(
                "," if match[0] in ",、，|/" else "." if match[0] in ".;!?。！？；\n" else ",",
                match.start(),
                match.end(),
            )
        ]
        if match
        else []
    )


def _without_nouns(text: str, items: list[_Item]) -> list[_Item]:
    """ "没有树的狐狸", a fox without a tree: what is ruled out ends at 的 where 没有 begins what describes a noun."""
    out: list[_Item] = []
    ruled = 0
    """Words that are ruled out so far; 0 outside."""
    for at, item in enumerate(items):
        begins = at == 0 or items[at - 1].english in ("", ",", "and") or not items[at - 1].known
        if item.english == "without":
            ruled = 1 if begins else 0
        elif item.english == ",":
            ruled = 0
        elif ruled and text[item.at : item.to] == "的":
            if ruled > 1 and out[-1].english not in _COLOURS:
                out[-1] = replace(out[-1], to=item.to)
                item = _Item(",", item.to, item.to)
            ruled = 0
        elif ruled and item.english:
            ruled += 1
        out.append(item)
    return out


def _ordered(items: list[_Item], language: str) -> list[_Item]:
    """English order: what stands before its noun there, and behind it here."""
    said = [i for i in items if i.english]
    if language in _POSTPOSED:
        return _prepositions_first(said, _POSTPOSED[language])
    if language == "de":
        return said
    for at in range(len(said) - 1):
        head, following = said[at], said[at + 1]
        skip = 1 if following.english == "of" and at + 2 < len(said) else 0
        thing = said[at + 1 + skip]
        if head.english == "background" and thing.english in _COLOURS:
            said[at : at + 2 + skip] = [thing, head]
        elif (
            head.english == "style"
            and not skip
            and thing.known
            and thing.english not in STOP
            and thing.english[0].isalpha()
        ):
            said[at : at + 2] = [thing, head]
    return said


def _prepositions_first(said: list[_Item], postposed: frozenset[str]) -> list[_Item]:
    """ "starry sky under owl" -> "under starry sky, owl"."""
    out: list[_Item] = []
    for item in said:
        if item.english in postposed and out and out[-1].english not in (",", "and"):
            start = len(out) - 1
            while start > 0 and out[start - 1].english in _COLOURS:
                start -= 1
            out[start:start] = [item]
            out.append(_Item(",", item.to, item.to))
        else:
            out.append(item)
    return out
