"""Words: folding, splitting, plurals, small typos, and the word lists that the grammar cues are made of."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from pluralizer import Pluralizer
from rapidfuzz.distance import OSA


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


ARTICLES = _set("a an the some any this that these those my your his her its our their one single lone another")
NEGATIONS = _set("without no not except minus excluding sans never")
MODALS = _set("to can could will would shall should may might must cannot")
BEHIND = _set(
    "on over under underneath beneath against before above below amid amidst among in at inside within near beside by "
    "behind across beyond front atop onto upon off floating along beneath outside"
)
BACKGROUND_HEADS = _set("background backdrop backgrounds backdrops wallpaper scenery setting backing")
STYLE_HEADS = _set(
    "style styled stylised stylized look aesthetic aesthetics effect theme themed filter version rendering render art "
    "drawing illustration print design technique vibe vibes treatment finish painting artwork"
)
GENERIC_HEADS = STYLE_HEADS & _set("version rendering render art drawing illustration design artwork print painting")
STYLE_LEADS = _set("style look manner spirit form shape")
STYLE_VERBS = _set(
    "drawn rendered done made painted depicted shown sketched designed printed illustrated styled drawing imagined "
    "created reimagined"
)
STOP = (
    ARTICLES
    | NEGATIONS
    | MODALS
    | BEHIND
    | _set(
        "of with and or but plus as like into from for than then so if when while where which who whose what there "
        "here it he she they we i me you us him them be is are was were been being am do does did have has had having "
        "get got give gives gave let lets just only also too very really quite rather more most please pls plz thanks "
        "thank hi hello hey ok okay yes kindly need needs want wants wanted wish love would id im ive dont draw draws "
        "paint create creates generate generates make makes show shows render produce design depict depicts "
        "illustrate imagine add put give using use uses via about around between during through per each all both "
        "every few many much something anything someone thing things kind sort type way bit lot such same other own "
        "up down out s t m re ll d ve says say saying said"
    )
)
GENERIC = _set(
    "picture pictures image images pic photo photos photograph photography snapshot drawing "
    "drawings illustration illustrations artwork depiction portrayal rendition visual canvas "
    "prompt style styled styles look version background backdrop scene setting beautiful nice cute pretty lovely "
    "adorable amazing awesome gorgeous cool simple simply good great best perfect wonderful stunning fantastic fancy "
    "quality high hd uhd 4k 8k detailed masterpiece sharp crisp clear fine little small big large tiny huge giant "
    "sitting standing lying placed set shown seen drawn rendered painted made done wearing holding looking appearing "
    "featuring depicting showing containing including located centered centred typical classic ordinary regular "
    "normal plain art new random whole entire full own favourite favorite maybe perhaps actually super ultra nicely "
    "pair couple main subject digital rendering render design piece entirely itself"
)
# Words that describe or act: as an alias of a thing they name nothing ("happy" for a birthday cake).
DESCRIBING = _set(
    "black white red orange yellow green blue purple pink brown gray golden silver happy sad angry funny scary dark "
    "bright light fluffy young old wild fresh easy late fast slow lazy smart wise sly curious playful elegant ugly "
    "creative dangerous serious formal soft hot cold warm wet dry dead closed private broken crushed twisted fallen "
    "stuffed engaged married intelligent rich wooden male female delicious sour sweet spotted shiny comfortable handy "
    "super first second last back front over extra four two three american european japanese irish classical musical "
    "personal medieval athletic baby man woman boy girl person people king queen family mother father child kid sit "
    "sits eat run jump fly climb swim sing talk sleep drive fry catch point hit kick strike cut fall grow launch walk "
    "play playing dance fishing cooking night day spring summer winter autumn morning evening school country city "
    "place world life body shape order change idea class health beauty growth attraction major theme test"
)
# Media and manners of art: never a thing to draw, always a way to draw it.
ART = _set(
    "watercolour watercolor aquarelle charcoal acrylic gouache pastel oil ink anime manga cartoon sketch comic "
    "engraving etching woodcut fresco collage mosaic graffiti claymation stopmotion photorealistic realistic "
    "photoreal realism impressionist impressionism cubist cubism expressionist surrealist surrealism baroque "
    "renaissance rococo minimalist minimalism abstract vaporwave steampunk cyberpunk isometric voxel vector lowpoly "
    "poly origami embroidery embroidered mural tapestry ukiyo chibi risograph linocut lithograph calligraphy gothic "
    "noir sepia monochrome painterly painted handdrawn stippled crosshatched"
)
SPELLING = {
    "grey": "gray", "colour": "color", "coloured": "colored", "donut": "doughnut",
    "aeroplane": "airplane", "tyre": "tire", "moustache": "mustache", "pyjamas": "pajamas", "centre": "center",
    "armour": "armor", "favourite": "favorite",
}  # fmt: skip
_PLURALS = Pluralizer()
# Where its rules go wrong: pairs of things have no singular of their own, and a few words only look like plurals.
for _word in _set("glasses sunglasses binoculars pants shorts maracas rhinoceros lens abdomen specimen alias"):
    _PLURALS.add_uncountable_rule(_word)
for _one, _many in (
    ("die", "dies"), ("selfie", "selfies"), ("mosquito", "mosquitoes"), ("volcano", "volcanoes"), ("octopus", "octopi"),
    ("octopus", "octopodes"),
):  # fmt: skip
    _PLURALS.add_irregular_rule(_one, _many)
# Function words of other languages: several of them, and the prompt is not read as English.
FOREIGN = _set(
    "der die das und ein eine einen einem einer eines mit auf im ist nicht vor dem den des von stil bild zeichne "
    "zeichnet bitte le la les un une des du dans avec sur est et au aux sous devant pour el los las una unos unas con "
    "en sobre del por para estilo dibuja y il lo gli uno nel nella sul sulla con di della dello stile disegna su e o "
    "os as um uma em no na nos nas com sob nao desenhe een het met op voor in stijl teken en ett och pa med i av och "
    "som"
)


@dataclass(frozen=True)
class Token:
    """One word: as written, folded, its singular, its place, and whether punctuation stands before it."""

    text: str
    form: str
    key: str
    start: int
    end: int
    breaks: bool


def fold(text: str) -> str:
    """Case, accents and typographic variants removed: ``Café`` -> ``cafe``."""
    if text.isascii():
        return text.casefold()
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(c for c in plain if not unicodedata.combining(c))


@lru_cache(maxsize=50_000)
def singular(word: str) -> str:
    """A plain singular of a folded English word; words that look like none and short ones stay as they are."""
    if len(word) < 4 or word in STOP or word.endswith(("us", "is")):
        return SPELLING.get(word, word)
    one = _PLURALS.singular(word)
    return SPELLING.get(one, one)


_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]{1,2}\b)?")
_BREAK = re.compile(r"[.,;:!?()\[\]{}|/\n\r\"“”«»—–…、。，；：！？・]")


def tokenise(text: str) -> list[Token]:
    """Words of a text in order. Hyphens split words, other punctuation breaks spans; a symbol such as 🐙 is read by its
    Unicode name.
    """
    tokens: list[Token] = []
    at, breaks = 0, False
    while at < len(text):
        found = _WORD.match(text, at)
        if found:
            raw = found[0]
            form = re.sub(r"['’].*$", "", fold(raw)) or fold(raw)
            tokens.append(Token(raw, form, singular(form), at, found.end(), breaks))
            at, breaks = found.end(), False
            continue
        char = text[at]
        if unicodedata.category(char) == "So":
            for word in re.findall(r"[a-z0-9]+", unicodedata.name(char, "").casefold()) or [char]:
                tokens.append(Token(char, word, singular(word), at, at + 1, breaks))
                breaks = False
        breaks = breaks or _BREAK.match(char) is not None
        at += 1
    return tokens


@lru_cache(maxsize=50_000)
def keys_of(text: str) -> tuple[str, ...]:
    """Singular, folded words of a skill's name."""
    return tuple(t.key for t in tokenise(text))


def mend(word: str, candidates: Iterable[str]) -> tuple[str, ...]:
    """The candidates that ``word`` is a small misspelling of, all as near: one slip from 5 letters, two from 8."""
    limit = 0 if len(word) < 5 else 1 if len(word) < 8 else 2
    if not limit or not word.isascii() or not word.isalpha():
        return ()
    best: dict[int, list[str]] = {}
    for other in candidates:
        # The first letter is seldom wrong, unless it is swapped with the second.
        if len(other) >= 4 and (other[0] == word[0] or other[:2] == word[1::-1]):
            turned = len(word) >= 6 and sorted(word) == sorted(other)  # "bycicle"
            distance = 1 if turned and word != other else OSA.distance(word, other, score_cutoff=limit)
            if 0 < distance <= limit:
                best.setdefault(distance, []).append(other)
    return tuple(sorted(best[min(best)])) if best else ()
