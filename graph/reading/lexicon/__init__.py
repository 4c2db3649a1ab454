"""Words and names in eight languages with their English, and how they are looked up."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources

from ..words import fold

LANGUAGES = ("de", "fr", "es", "it", "pt", "ru", "ja", "zh")
UNSPACED = ("ja", "zh")
_STEMMERS = {
    "de": "german", "fr": "french", "es": "spanish", "it": "italian", "pt": "portuguese", "ru": "russian",
}  # fmt: skip
_TOKEN = re.compile(r"[^\W_]{1,2}['’](?=\w)|[^\W_]+")
_HAN = re.compile(r"[一-鿿㐀-䶿]+")
_COMMON = ("de", "fr", "es", "ja")
"""Languages of the list of common things."""
_LITTLE = 18
"""So many rows of the table are function words; what follows are looks and things."""


def tokens_of(text: str) -> list[re.Match[str]]:
    """Words of a language that writes blanks; an elided article (``l'``) is one of its own."""
    return list(_TOKEN.finditer(text))


@dataclass
class Lexicon:
    """One language.

    Attributes:
        exact: folded words -> English; "" for a word that English does not need.
        little: single function words. names: single words that name things and looks.
        longest: words (characters where no blanks are written) of the longest entry.
    """

    language: str
    exact: dict[tuple[str, ...], str] = field(default_factory=dict)
    little: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    longest: int = 1

    def add(self, said: str, english: str, *, little: bool) -> None:
        if self.language in UNSPACED:
            self.exact.setdefault(tuple(said), english)
            self.longest = max(self.longest, len(said))
            return
        words = tuple(fold(m[0]) for m in tokens_of(said))
        if not words:
            return
        self.exact.setdefault(words, english)
        self.longest = max(self.longest, len(words))
        if len(words) == 1:
            (self.little if little else self.names).add(words[0])

    def stem(self, word: str) -> str:
        """A word without its ending, folded."""
        return fold(_stemmer(self.language).stemWord(word.casefold()))

    @cached_property
    def stems(self) -> dict[tuple[str, ...], str]:
        """Stems of words -> English; made when a word is first looked up that has no entry as it stands."""
        found: dict[tuple[str, ...], str] = {}
        for words, english in self.exact.items():
            if english:
                found.setdefault(tuple(self.stem(w) for w in words), english)
        return found


@cache
def lexicon(language: str) -> Lexicon:
    """The lexicon of a language, read once."""
    made = Lexicon(language)
    column = LANGUAGES.index(language) + 1
    folder = resources.files(__package__)
    rows = [
        line.split("|")
        for line in (folder / "words.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    for at, row in enumerate(rows):
        english = row[0].strip()
        for said in row[column].split(","):
            if said.strip(" -"):
                made.add(said.strip(), "" if english == "-" else english, little=at < _LITTLE)
    things: dict[str, str] = json.loads((folder / "things.json").read_text(encoding="utf-8"))[language]
    for name, english in things.items():
        made.add(name, english, little=False)
    for line in (folder / "common.txt").read_text(encoding="utf-8").splitlines():
        english, *said_in = line.split("|")
        if line.startswith("#"):
            continue
        if language in _COMMON:
            for said in said_in[_COMMON.index(language)].split(","):
                made.add(said.strip(), english, little=False)
        elif language == "zh":  # signs that are no Chinese word, and that only a Japanese prompt can mean
            for said in said_in[_COMMON.index("ja")].split(","):
                if _HAN.fullmatch(said.strip()):
                    made.add(said.strip(), english, little=False)
    return made


@cache
def _stemmer(language: str):  # type: ignore[no-untyped-def]  # snowballstemmer has no types
    import snowballstemmer

    return snowballstemmer.stemmer(_STEMMERS[language])
