"""Which facet an expert is about, by rules over what is said of it: no single tag decides alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..expert import Facet
from .unusual import is_unusual

_NAMED: dict[str, Facet] = {
    "style": "style", "styles": "style", "artstyle": "style", "art style": "style", "artist": "style",
    "background": "background", "backgrounds": "background", "scenery": "background", "landscape": "background",
    "buildings": "background", "building": "background", "architecture": "background", "environment": "background",
    "location": "background", "interior": "background",
    "action": "action", "pose": "pose", "poses": "pose", "lighting": "lighting", "light": "lighting",
    "quality": "quality", "tool": "quality", "utility": "quality", "detail": "quality", "subject": "subject",
    "object": "subject", "objects": "subject", "animal": "subject", "animals": "subject", "vehicle": "subject",
    "character": "character", "characters": "character", "celebrity": "character", "concept": "concept",
    "clothing": "clothing", "outfit": "clothing", "fashion": "clothing",
}  # fmt: skip
"""Category words, as they stand among tags."""


def named_facets(tags: Iterable[str]) -> tuple[Facet, ...]:
    """The facets that tags name outright, in the tags' order."""
    return tuple(dict.fromkeys(_NAMED[tag] for tag in (t.casefold().strip() for t in tags) if tag in _NAMED))


def _words(text: str) -> re.Pattern[str]:
    return re.compile(r"(?<![a-z])(?:" + "|".join(text.split(" / ")) + r")(?![a-z])")


# What words of a title, of tags and of a description speak for. Weighed against each other by `facet_of`.
_WORDS: tuple[tuple[Facet, float, str], ...] = (
    ("style", 2.0,
     r"styles? / stylized / style lora / art ?style / artstyle / aesthetics? / aesthetic / painterly"),
    ("style", 1.6,
     r"paintings? / painter / illustrations? / illustrator / artist / artists / artwork / watercolou?r / "
     r"sketch(?:es)? / line ?art / lineart / ink / inkpunk / comics? / manga / cartoons? / pixel ?art / "
     r"3d render / render / oil painting / concept art / film / cinematic / photography / photographic / "
     r"analog / vintage / retro / claymation / clay / origami / paper ?cut / papercut / voxel / low ?poly / "
     r"lowpoly / isometric / vector / flat / stickers? / logos? / icons? / posters? / anime / ghibli / "
     r"pixar / disney / ukiyo-e / impressionism / cyberpunk / steampunk / vaporwave / synthwave / graffiti "
     r"/ gothic / punk / core / noir / doodles? / crayon / chibi / minimalist / abstract / surreal(?:ism)? "
     r"/ realism / photorealis(?:m|tic)"),
    ("character", 2.2,
     r"characters? / game character / anime character / oc / vtuber / hololive / nijisanji / "
     r"genshin(?: impact)? / honkai / star rail / fate / fgo / arknights / azur lane / blue archive / "
     r"umamusume / pokemon / naruto / one piece / bleach / touhou / league of legends / overwatch / "
     r"final fantasy / girls.? frontline / fire emblem / idolmaster / evangelion / gundam / persona / "
     r"kantai collection / kancolle / granblue / nikke / resident evil / street fighter / zelda / "
     r"sailor moon / dragon ball / demon slayer / jujutsu kaisen / re:zero / konosuba / danganronpa / "
     r"my hero academia / bocchi / love live / bang dream / princess connect / waifu / heroine / "
     r"protagonist / video game / cosplay / actress / actor / celebrity / model from / singer / idol"),
    ("character", 1.2,
     r"girl / girls / boy / woman / man / male / female / face / person / 1girl / 1boy / hairstyle / chan / "
     r"kun / san / sama / princess / queen / king / lady"),
    ("clothing", 2.4,
     r"clothing / clothes / outfits? / dress(?:es)? / costumes? / uniforms? / bikinis? / swimsuits? / "
     r"lingerie / armou?r / jackets? / skirts? / shirts? / kimonos? / hanfu / qipao / cheongsam / socks / "
     r"stockings / pantyhose / bodysuits? / leotards? / hoodies? / sweaters? / coats? / suits? / gowns? / "
     r"hats? / shoes / boots / heels / apron / fashion / maid / jeans / shorts / pants / masks? / glasses / "
     r"helmets? / underwear / bra / corsets? / turtleneck / yukata / saree / sari / lolita / garter / "
     r"gloves / collars? / cape / latex / thigh ?highs"),
    ("background", 2.2,
     r"backgrounds? / scenery / landscapes? / environments? / interiors? / rooms? / city / cityscapes? / "
     r"buildings? / architecture / house / houses / castles? / street / streets / forests? / temple / "
     r"church / village / town / bedroom / kitchen / classroom / school / station / ruins / mountains? / "
     r"ocean / sea / beach / garden / skyline / dungeon / planet / places? / location / stage / "
     r"shop / store / cafe / library / bridge / underwater / exterior / palace / hall / corridor / bathroom "
     r"/ train station / scene / scenes"),
    ("concept", 2.0,
     r"concepts? / poses? / posing / pose / holding / sitting / lying / standing / expressions? / meme / "
     r"effect / effects / action / gestures? / hands? / fingers? / grab / hug(?:ging)? / kiss(?:ing)? / "
     r"from (?:above|below|behind|side) / view / pov / angle / camera / perspective / selfie / composition "
     r"/ sheet / turnaround / tattoos? / body / breasts? / muscles? / tongue / smile / eyes? / hair / wings "
     r"/ tail / horns / smoke / fire / glowing / transformation / transparent / cards? / cover / layout / "
     r"split / mirror / reflection / inside / giant(?:ess)? / zombie / pregnant / chubby / elf / ears / "
     r"magic / x-?ray / exploded / blood / wet / age slider"),
    ("subject", 2.0,
     r"objects? / vehicles? / cars? / motorcycles? / bikes? / tanks? / planes? / aircrafts? / ships? / "
     r"boats? / weapons? / swords? / guns? / rifles? / robots? / mecha / mechs? / animals? / cats? / dogs? "
     r"/ birds? / dragons? / horses? / wolf / fox / monsters? / creatures? / insects? / fish / food / "
     r"fruits? / flowers? / trees? / plants? / furniture / chairs? / toys? / dolls? / figures? / figurines? "
     r"/ statues? / jewelry / items? / props? / assets? / products? / bottles? / cake / truck / train / "
     r"airplane / spaceship / spider / bear / product design"),
    ("lighting", 2.6,
     r"lighting / rim ?light / backlight(?:ing)? / chiaroscuro / low ?light / god ?rays / volumetric light"),
    ("quality", 2.4,
     r"detail(?:er|s)? tweaker / detail tweaker / add ?details? / more details / detailer / enhancer / "
     r"negative embedding / bad ?hands? / better hands / slider / sliders / lcm / lightning / turbo / "
     r"hyper-?sd / upscale(?:r)? / quality / utility / tools? / fix / noise ?offset / offset / contrast / "
     r"sharp(?:ness)? / denoise / tweaker / speed ?up / hdr / acceleration / epi_?noiseoffset / "
     r"distill(?:ed)?"),
)  # fmt: skip
_CUES = tuple((facet, weight, _words(words)) for facet, weight, words in _WORDS)
_ENDINGS: tuple[tuple[str, Facet], ...] = (
    (" style", "style"), (" background", "background"), (" outfit", "clothing"), (" dress", "clothing"),
    (" pose", "pose"), (" lighting", "lighting"), ("style", "style"),
)  # fmt: skip


CUED: tuple[Facet, ...] = tuple(sorted({facet for facet, _, _ in _CUES}))
"""Facets that have cue words."""


def cue_scores(text: str) -> list[float]:
    """How strongly a text's words speak for each of `CUED`."""
    folded = text.casefold().replace("_", " ")
    score = dict.fromkeys(CUED, 0.0)
    for facet, weight, words in _CUES:
        if hits := len(set(words.findall(folded))):
            score[facet] += weight * (1.0 if hits == 1 else 1.4)
    return [score[facet] for facet in CUED]


def facet_of(
    title: str, tags: Sequence[str], triggers: Sequence[str] = (), description: str = "", seen: Sequence[str] = ()
) -> Facet:
    """The facet that most of what is said speaks for; subject where nothing speaks.

    Args:
        title, description: as cleaned.
        tags: its page's; a category's own word weighs much, and is not needed.
        triggers: its words.
        seen: the commonest tags of its training pictures.
    """
    score: dict[Facet, float] = {}

    def add(facet: Facet, weight: float) -> None:
        score[facet] = score.get(facet, 0.0) + weight

    named = named_facets(tags)
    for facet in named:
        add(facet, 6.0 / len(named))
    for facet, weight in _by_shape(title, tags, triggers):
        add(facet, weight)
    for ending, facet in _ENDINGS:
        if any(word.casefold().endswith(ending) for word in triggers):
            add(facet, 3.0)
            break
    shown = [tag for tag in tags if tag.casefold() not in _MEDIA]
    said = ((title, 1.0), (" , ".join(shown), 0.8), (" , ".join(triggers[:6]), 0.5), (description[:300], 0.45))
    for text, share in (*said, (" , ".join(seen[:8]), 0.3)):
        folded = text.casefold().replace("_", " ")
        for facet, weight, words in _CUES:
            if hits := len(set(words.findall(folded))):
                add(facet, share * weight * (1.0 if hits == 1 else 1.4))
    return max(score, key=lambda facet: score[facet]) if score else "subject"


_MEDIA = frozenset(("anime", "manga", "cartoon", "photorealistic", "realistic", "photography", "illustration", "game"))
"""Tags of what pictures are made like, which stand beside every character."""
_PRIOR = 0.4
"""Of what is called by no ordinary word, or by none, most is a look."""
_PEOPLE = frozenset(("girl", "girls", "woman", "female", "boy", "man", "male", "anime girl", "waifu", "1girl", "1boy"))
_OF_A_SERIES = re.compile(r"^[^(|\[]{2,60}[(|\[][^)|\]]{3,60}")
_LOOKS = re.compile(r"\b(?:hair|eyes|ponytail|twintails|braid|bangs|breasts|freckles|beard|headband|hairband)\b")


def _by_shape(title: str, tags: Sequence[str], triggers: Sequence[str]) -> Iterable[tuple[Facet, float]]:
    """What the form of a page says: a name with its series behind it, a trigger that describes somebody's looks."""
    if all(is_unusual(word) for word in triggers[:2]):
        yield "style", _PRIOR
    folded = {tag.casefold() for tag in tags}
    named = any(word.casefold() in title.casefold() and " " in word for word in triggers[:2])
    if _OF_A_SERIES.match(title):
        yield "character", 1.4
    if named and any(len(tag) > 4 and tag in title.casefold() for tag in folded):
        yield "character", 1.2
    if _PEOPLE & folded:
        yield "character", 0.6
    if len(_LOOKS.findall(" , ".join(triggers[:12]).casefold())) >= 2:
        yield "character", 2.0
