"""How rare a word is among prompts: what a rare word names is asked for, what stands in half of all prompts is not.

Three witnesses: words that this module lists because prompts for image models repeat them, the vocabulary of the text
model, which stands roughly in order of how common words are in English, and the example prompts of the graph's own
experts, counted as they are registered.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import log

from ..embedding import word_ranks
from ..reading.words import STOP
from .terms import terms

PRIOR_PROMPTS = 400.0
"""The lists and the vocabulary weigh as much as so many example prompts."""
_UNKNOWN = 2e-5
_FIRST = 1995
"""The vocabulary begins with signs; from here on its words are roughly in order."""
_LISTED = (
    (0.30, "masterpiece best quality 1girl solo girl looking at viewer highres detailed hair eye long"),
    (0.12, """smile short blush dress shirt skirt white black blue red brown pink purple green yellow blonde gray
     background simple upper body full portrait 8k 4k hd uhd ultra extremely highly high realistic photorealistic
     illustration standing sitting outdoors indoors sky day night light lighting cinematic beautiful cute anime sharp
     focus open mouth closed breast bangs jewelry woman man boy 1boy no human raw photo perfect absurdres face skin"""),
    (0.045, """hat ribbon bow glove boot shoe sleeve sleeveless bare shoulder necklace earring choker collar belt jacket
     coat pants shorts jeans sweater hoodie suit uniform school serafuku kimono swimsuit bikini thighhighs pantyhose
     stocking sock leg arm hand holding standing walking running lying kneeling cowboy shot close up from side above
     below behind front view depth of field blurry bokeh volumetric soft natural dramatic shadow sunlight sun cloud moon
     star water ocean sea beach lake river mountain forest tree flower grass garden city street building room bed chair
     table window wall wing tail ear animal horn halo hairband hairclip ornament ponytail twintails braid bob wavy
     curly straight hair messy medium very large small wide 2girls multiple girls male mature female young old adult
     wallpaper cg unity render octane unreal engine artstation trending intricate fine detailed award winning
     photography film grain dslr lens 35mm 50mm 85mm canon nikon fujifilm sony bright colorful vibrant vivid pastel
     dark monochrome greyscale sketch lineart painting oil watercolor digital art concept artwork texture skin pore
     official dynamic angle pose action cleavage navel midriff abs muscular floating weapon sword gun armor magic fire
     fantasy sci fi cyberpunk space scenery landscape nature wind rain snow winter summer autumn spring"""),
)  # fmt: skip
_SCORES = "score 9 8 7 6 5 up source rating safe newest recent"


@lru_cache(maxsize=1)
def _listed() -> dict[str, float]:
    found: dict[str, float] = {**dict.fromkeys(_SCORES.split(), 0.05), **dict.fromkeys(STOP, 0.3)}
    for share, text in _LISTED:
        for word in terms(" ".join(text.split())):
            found.setdefault(word, share)
    return found


def prior(word: str) -> float:
    """The share of prompts that hold a word, as far as lists and vocabulary tell."""
    if word in _listed():
        return _listed()[word]
    rank = word_ranks().get(word)
    return _UNKNOWN if rank is None else 8.0 / max(rank - _FIRST, 25)


class Rarity:
    """-log of the share of prompts that hold a word.

    Args:
        counts: word -> how many example prompts hold it.
        total: how many example prompts there are.
    """

    def __init__(self, counts: Mapping[str, int] | None = None, total: int = 0) -> None:
        self._counts, self._total = counts or {}, total

    def __call__(self, word: str) -> float:
        share = (self._counts.get(word, 0) + PRIOR_PROMPTS * prior(word) + 0.05) / (self._total + PRIOR_PROMPTS + 0.1)
        return -log(min(share, 0.98))


PLAIN = Rarity()
"""Where the graph has no example prompts."""
