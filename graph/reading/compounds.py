"""Two words that are one thing: a bus stop is no bus, a sea horse no horse, black and white no background."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .dictionary import COMPOUND, frequency
from .words import Token


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HEADS = _set(
    # places and ways
    "stop station terminal depot lane route ride rank park rink court pitch arena stadium field track alley farm ranch "
    "shop store market mall stand stall kiosk bar restaurant cafe factory mill plant garage yard pond tank aquarium "
    "cage kennel stable nest hive den shelter hospital school academy museum gallery island bay beach valley street "
    # people
    "driver rider pilot keeper owner trainer walker lover player teacher coach singer maker seller dealer hunter tamer "
    "farmer fighter rancher fan lady man woman boy girl guy person king queen tribe doctor vet surgeon rescuer "
    # events and doings
    "match game tournament championship league cup race racing lesson class concert show festival parade party "
    "attack bite sting call song solo dance fight hunt hunting crossing season day night crisis accident crash "
    "strike service services team squad club band orchestra union company brand "
    # things that belong to it
    "pick string strings case bow stick sticks pedal amp stool bench racket racquet bat net glove hoop goal jersey "
    "food bowl collar leash bone bed litter tail ear ears paw paws claw claws eye eyes fin fins feather feathers wing "
    "wings beak egg eggs fur skin leather tooth teeth horn horns shell web milk meat soup stew sauce juice salad bread "
    "jam pudding sandwich burger smoothie shake peel seed seeds leaf leaves blossom tree grove orchard bush ticket "
    "tickets timetable pass wheel wheels tire tires engine seat seats door window windows key keys helmet suit costume "
    "mask jacket shoe shoes sock socks boot boots hat cap shirt necklace earrings tattoo fountain hydrant alarm escape "
    "exit pit drill truck station charger holder stand rack trap"
)
_OTHER_THINGS = {
    head: _set(before)
    for head, before in {
        "ball": "crystal disco mirror cannon snow eye meat hair cotton rice wrecking",
        "bear": "teddy gummy", "dog": "hot corn prairie", "horse": "rocking sea clothes hobby", "lion": "sea ant",
        "fish": "star jelly cuttle", "house": "green light ware doll", "bird": "lady jail", "apple": "pine custard",
        "fly": "butter dragon fire horse", "pig": "guinea", "mouse": "computer optical wireless", "cat": "copy",
        "dragon": "komodo snap bearded", "star": "rock movie pop film", "cake": "pan cup rice fish crab",
        "ring": "onion boxing key", "glass": "hour looking stained", "bow": "rain cross", "boat": "banana gravy",
        "car": "cable", "crown": "tooth", "tree": "shoe", "flower": "cauli wall", "butter": "peanut shea",
        "cream": "ice shaving", "wolf": "were", "wheel": "ferris steering spinning", "pole": "totem",
        "board": "key skate surf snow chess",
    }.items()
}  # fmt: skip
"""Word -> words before it with which it is another thing."""
_TOGETHER: tuple[tuple[str, ...], ...] = (("black", "and", "white"), ("black", "n", "white"), ("black", "white"))
"""Colours that are one look when they stand together."""


def doubles(tokens: Sequence[Token], free: Callable[[int], bool], known: Callable[[str], bool]) -> set[int]:
    """Words of pairs that English writes as one word nobody here has: "sea horse", "star fish", "dog house".

    Args:
        free: whether a word may still be read. known: whether some skill is called so, written together.
    """
    found: set[int] = set()
    for at in range(len(tokens) - 1):
        left, right = tokens[at], tokens[at + 1]
        if right.breaks or not (free(at) and free(at + 1)) or min(len(left.form), len(right.form)) < 3:
            continue
        whole = left.form + right.form
        if not (known(whole) or known(left.form + right.key)) and frequency(whole) >= COMPOUND:
            found |= {at, at + 1}
    return found


def is_head(token: Token) -> bool:
    """Whether a word after a thing's name makes it another thing: "stop" in "bus stop"."""
    return not token.breaks and (token.form in _HEADS or token.key in _HEADS)


def is_other_thing(tokens: Sequence[Token], start: int, end: int) -> bool:
    """Whether the word before a name of one word makes it another thing: "crystal" in "a crystal ball"."""
    if end - start != 1 or start == 0 or tokens[start].breaks:
        return False
    return tokens[start - 1].form in _OTHER_THINGS.get(tokens[start].key, _OTHER_THINGS.get(tokens[start].form, ()))


def together(tokens: Sequence[Token]) -> list[tuple[int, int]]:
    """Stretches such as "black and white", that are one look and none of their words."""
    found: list[tuple[int, int]] = []
    for at in range(len(tokens)):
        for words in _TOGETHER:
            here = tokens[at : at + len(words)]
            if tuple(t.form for t in here) == words and not any(t.breaks for t in here[1:]):
                found.append((at, at + len(words)))
                break
    return found
