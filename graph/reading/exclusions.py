"""What a prompt rules out: "without a hat", "not in pixel art", "anything but a banana", "neon-free"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .exclusion_phrases import PHRASES, find_free
from .request import Marked
from .words import BEHIND, fold

MOST_WORDS = 12
"""So many words can be ruled out at once; what follows is wanted again."""


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ARTICLES = _set("a an the any some its his her their my your our such even of")
_FILLER = _set("please pls plz kindly ever at all really anything any")
_STOPS = _set(
    "but with instead just only please pls plz while whereas because since so then thanks thank is are was were be as "
    "although though if when yet plus except it it's its' make draw do use give show put add i you and/or"
)
_AGAIN = _set(
    "make draw use it i you put give add show please let do have in on with as just only then this that's also"
)
"""After "and": what follows is wanted again."""
_DANGLING = _set(
    "that which who but and should must would shall it this is are was were be do does did i we you really just also "
    "or to with"
)
_HAS = _set("wearing having showing holding carrying containing featuring wears has have had shows holds")
"""Before "no": without what is ruled out they would say nothing."""
_TOWARDS = _set("at into to toward towards")
_PREPOSITIONS = (BEHIND - {"before"}) | _set("before like into for from to")
_PLACES = _set("it them background backdrop foreground picture image scene frame sky photo drawing corner corners")

_NEGATED_VERBS = _set(
    "don't dont doesn't doesnt didn't isn't isnt aren't arent wasn't shouldn't shouldnt mustn't mustnt won't wont "
    "not never"
)
_USES = _set(
    "see use used using draw drawn drawing include included including add added adding show shown make made put want "
    "wanted need have be look looks like do paint give render rendered contain feature featuring place let need"
)
_DESCRIBES = _set("want need like use include draw add show have")
_NOT_HARMLESS = _set(
    "only just sure bad too very necessarily yet quite so really that least even long far many much few less more all "
    "every always to mind forget worry hesitate matter know think care wait able enough unlike again there happy"
)
_NO_HARMLESS = _set(
    "nonsense brainer frills "
    "problem problems worries worry hurry matter doubt longer rush less more one need idea other pressure way kidding "
    "fewer sooner offence offense thanks thank stress wonder question biggie reason limits"
)
_NO_IN_A_WORD = _set("nonsense brainer frills frill fly go show name win kill code holds one")
"""Behind "no-": words of their own, which rule nothing out."""
_WITHOUT_HARMLESS = _set("doubt fail question exception delay warning ado end equal limit effort")
_NO_SIGNS = _set("sign signs zone symbol poster plate sticker")
_START_VERBS = _set("avoid avoiding omit omitting exclude remove skip drop ban lose leave forbid forget ditch")
_BEFORE_START = _set("and please but also pls plz then should must to kindly do just always can could you")

_WORD = re.compile(r"[wW]/[oO]\b|[^\W_]+(?:['’][^\W\d_]{1,3}\b)?")
_BREAK = re.compile(r"[.,;:!?()\[\]{}|/\n\r\"“”„«»「」『』—–…、。，；：！？・]")


@dataclass(frozen=True)
class _Word:
    text: str
    start: int
    end: int
    breaks: str
    """Punctuation before it that ends a clause; empty if there is none."""
    joined: bool = False
    """Whether a hyphen joins it to the word before it."""


@dataclass(frozen=True)
class _Ruled:
    """Words ``[at, end)`` are an exclusion; what is ruled out is words ``[said, end)``."""

    at: int
    said: int
    end: int


def find_exclusions(marked: Marked) -> list[tuple[int, str]]:
    """Mark every exclusion of the text; return what is ruled out, each with its place. Linear in the text's length."""
    found = find_free(marked)
    words = _words(marked.free)
    at = 0
    while at < len(words):
        ruled = _ruled(words, at)
        if ruled is None or ruled.end <= ruled.said:
            at += 1
            continue
        found += _things(marked.text, words, ruled)
        at = _but(words, ruled)
        marked.mark("exclusion", words[ruled.at].start, words[at - 1].end)
    return sorted(found)


def _words(text: str) -> list[_Word]:
    words: list[_Word] = []
    last = 0
    for match in _WORD.finditer(text):
        breaks = "".join(_BREAK.findall(text[last : match.start()]))
        words.append(
            _Word(
                fold(match[0]).replace("’", "'"), match.start(), match.end(), breaks, text[last : match.start()] == "-"
            )
        )
        last = match.end()
    return words


# -- where an exclusion begins


def _ruled(words: Sequence[_Word], at: int) -> _Ruled | None:
    """The exclusion that begins at a word, if one does."""
    if words[at].text not in _BEGINNINGS:
        return None
    for begin in (_phrases, _negated_verb, _no, _neither, _single, _imperative):
        said = begin(words, at)
        if said:
            if words[at].text == "no" and words[at + 1].joined:  # "a no-people landscape" is one of a landscape
                return _Ruled(
                    at, said, next((i for i in range(said + 1, len(words)) if not words[i].joined), len(words))
                )
            ruled = _scope(words, at, said)
            return _Ruled(_dangling(words, at), ruled.said, ruled.end)
    return None


def _dangling(words: Sequence[_Word], at: int) -> int:
    """The first of the little words before an exclusion that would stand alone without it: "the owl should not be"."""
    if at > 1 and words[at].text == "no" and not words[at].breaks and words[at - 1].text in _HAS:
        at -= 1
    while at > 0 and not words[at].breaks and words[at - 1].text in _DANGLING:
        at -= 1
    return at


def _but(words: Sequence[_Word], ruled: _Ruled) -> int:
    """After an exclusion, and after a "but" that only turns from it to what is wanted: "no dog, but a cat"."""
    end = ruled.end
    turns = end + 1 < len(words) and words[end].text == "but" and not words[end + 1].breaks
    return end + 1 if turns and (ruled.at == 0 or "," in words[end].breaks) else end


def _ahead(words: Sequence[_Word], at: int, *said: str) -> bool:
    """Whether these words stand here, with no break between them."""
    here = words[at : at + len(said)]
    return [w.text for w in here] == list(said) and not any(w.breaks for w in here[1:])


_BEGINNINGS = (
    {phrase[0] for phrase in PHRASES}
    | _NEGATED_VERBS
    | _START_VERBS
    | {"no", "neither", "without", "w/o", "minus", "sans", "excluding"}
)
"""Words that an exclusion can begin with: at all others there is nothing to look for."""


def _phrases(words: Sequence[_Word], at: int) -> int:
    """Phrases of several words; the index after them, 0 if none stands here."""
    if at and words[at - 1].text in ("nothing", "none", "nobody") and words[at].text in ("but", "except", "other"):
        return 0  # "nothing but a banana" wants one
    for phrase in PHRASES:
        if not _ahead(words, at, *phrase):
            continue
        end = at + len(phrase)
        if phrase[-1] in ("not", "no") and len(phrase) == 2:
            inner = _negated_verb(words, end - 1) if phrase[-1] == "not" else _no(words, end - 1)
            return inner
        return end
    return 0


def _negated_verb(words: Sequence[_Word], at: int) -> int:
    """ "don't use", "isn't", "not in", "never draw": the index of what is ruled out, 0 if nothing is."""
    word = words[at].text
    if word not in _NEGATED_VERBS or at + 1 >= len(words) or words[at + 1].breaks:
        return 0
    before = words[at - 1].text if at and not words[at].breaks else ""
    if before in ("why", "if", "or", "whether", "can", "could", "cannot", "better") or (
        word == "not" and before in ("has", "have", "had", "did", "would")
    ):
        return 0
    after = words[at + 1].text
    bare = word in ("not", "never")
    if after in _NOT_HARMLESS and not (word == "never" and after == "even"):
        return 0
    to = at + 1
    if word in _set("don't dont doesn't doesnt didn't won't wont shouldn't shouldnt mustn't mustnt never") or (
        bare and after in _USES - {"like", "look", "looks", "drawing"} | {"look"}
    ):
        if after not in _USES and not (word == "never" and after in BEHIND):
            return 0
        while (
            to < len(words)
            and not words[to].breaks
            and words[to].text in _USES | {"to", "me", "it", "there", "any", "too"}
            and not _looks_at(words, to)
        ):
            to += 1
    return to if to < len(words) and not words[to].breaks else 0


def _looks_at(words: Sequence[_Word], at: int) -> bool:
    """ "look at the camera" is something to do; "look like a dog" is not."""
    return words[at].text == "look" and at + 1 < len(words) and words[at + 1].text in _TOWARDS


def _no(words: Sequence[_Word], at: int) -> int:
    """ "no hat": the index of "hat", 0 where nothing is ruled out ("no problem", "No, a crab", "a no smoking sign")."""
    if words[at].text != "no" or at + 1 >= len(words) or words[at + 1].breaks:
        return 0
    after = words[at + 1].text
    if (
        after in _NO_HARMLESS
        or after[0].isdigit()
        or (words[at + 1].joined and after in _NO_IN_A_WORD)
        or (at and words[at - 1].text in ("yes", "or", "say", "says", "saying"))
    ):
        return 0
    if any(not w.breaks and w.text in _NO_SIGNS for w in words[at + 2 : at + 4]):
        return 0
    return at + 1


def _neither(words: Sequence[_Word], at: int) -> int:
    if words[at].text != "neither" or not any(w.text in ("nor", "or") for w in words[at + 1 : at + MOST_WORDS]):
        return 0
    return at + 1


def _single(words: Sequence[_Word], at: int) -> int:
    """One word that rules out what follows it."""
    word = words[at].text
    following = words[at + 1] if at + 1 < len(words) and not words[at + 1].breaks else None
    if following is None:
        return 0
    if word in ("without", "w/o"):
        later = [w.text for w in words[at + 1 : at + 4]]
        return (
            0
            if any(w in _WITHOUT_HARMLESS for w in later[:3]) and later[0] in _WITHOUT_HARMLESS | _set("a any further")
            else at + 1
        )
    if word in ("minus", "sans"):
        before = words[at - 1].text if at and not words[at].breaks else ""
        return (
            0
            if following.text in ("serif", "font") or before in ("comic", "open", "serif") or before.isdigit()
            else at + 1
        )
    return at + 1 if word == "excluding" else 0


def _imperative(words: Sequence[_Word], at: int) -> int:
    """ "avoid neon", "skip the hat", "leave the hat out": at a clause's start only ("a mouse to avoid" has one)."""
    word = words[at]
    if word.text not in _START_VERBS or at + 1 >= len(words) or words[at + 1].breaks:
        return 0
    starts = at == 0 or bool(word.breaks) or words[at - 1].text in _BEFORE_START - {"to"} or _order_to(words, at)
    if not starts:
        return 0
    end = _scope(words, at, at + 1).end
    out = words[end - 1].text in ("out", "off", "away")
    if word.text == "leave":
        return at + 1 if out else 0
    if word.text in ("drop", "lose", "skip", "forget", "ditch", "ban"):
        return at + 1 if words[at + 1].text in _ARTICLES | {"all", "out"} else 0
    return at + 1


def _order_to(words: Sequence[_Word], at: int) -> bool:
    """ "make sure to avoid"."""
    return at > 1 and words[at - 1].text == "to" and words[at - 2].text in ("sure", "try", "want", "remember", "please")


# -- how far it goes


def _scope(words: Sequence[_Word], at: int, said: int) -> _Ruled:
    """From the first word that is ruled out to the next break, preposition, or word that wants something again."""
    neither, leaves = words[at].text == "neither", words[at].text in ("leave", "keep")
    while (
        said < len(words)
        and not (words[said].breaks and said > at)
        and (words[said].text in _ARTICLES or words[said].text in _FILLER or words[said].text in _PREPOSITIONS - {"to"})
        and said + 1 < len(words)
        and not words[said + 1].breaks
    ):
        said += 1
    end = said
    deed = words[at].text in _NEGATED_VERBS and (words[said].text.endswith("ing") or _looks_at(words, said))
    deed = deed and said + 2 < len(words) and words[said + 1].text in _PREPOSITIONS and not words[said + 1].breaks
    if deed:
        end = said + 2  # "looking at the camera" is ruled out, not looking
    while end < len(words) and end - said < MOST_WORDS:
        word = words[end]
        if end > said and word.breaks and not _list_goes_on(words, end):
            break
        if end > said and (word.text in _STOPS or (leaves and word.text in ("out", "off", "away"))):
            break
        if end > said and word.text in _PREPOSITIONS:
            place = _place_ends(words, end)
            if not place:
                break
            end = place
            break
        if end > said and word.text in ("and", "&", "nor", "or"):
            nxt = words[end + 1].text if end + 1 < len(words) else ""
            again = nxt in _AGAIN or nxt in ("no", "not", "without") or (deed and nxt in ("a", "an", "the"))
            if word.text == "and" and (again or neither):
                break
        end += 1
    while end > said and words[end - 1].text in ("and", "or", "nor"):
        end -= 1
    if leaves and end < len(words) and not words[end].breaks and words[end].text in ("out", "off", "away"):
        end += 1
    return _Ruled(at, said, end)


def _list_goes_on(words: Sequence[_Word], at: int) -> bool:
    """ "no text, watermark or logo": a list of things is closed by "or"."""
    if words[at].breaks != ",":
        return False
    if words[at].text in ("or", "nor"):
        return True
    for i in range(at, min(at + 9, len(words))):
        word = words[i]
        if i > at and word.breaks and word.breaks != ",":
            return False
        if word.text in ("or", "nor") and i > at:
            return True
        if word.text in _PREPOSITIONS or word.text in _STOPS or word.text in ("no", "not", "without", "and"):
            return False
    return False


def _place_ends(words: Sequence[_Word], at: int) -> int:
    """After "in the background" and the like, which belongs to what is ruled out; 0 if that does not stand here."""
    for end in range(at + 1, min(at + 3, len(words))):
        if words[end].breaks:
            return 0
        if words[end].text in _PLACES:
            return end + 1
    return 0


def _things(text: str, words: Sequence[_Word], ruled: _Ruled) -> list[tuple[int, str]]:
    """What is ruled out, apart at "or", "nor", "and" and commas."""
    things: list[tuple[int, str]] = []
    start: int | None = None
    inside = range(ruled.said, ruled.end)

    def close(end: int) -> None:
        if start is not None and end > start:
            said = " ".join(text[words[start].start : words[end - 1].end].split())
            if said.casefold() in ("nothing", "anything", "everything", "something", "stuff", "things"):
                said = next((w.text for w in words[end : ruled.end] if w.text in _PLACES), said)
            things.append((words[start].start, said))

    def stop(i: int) -> bool:
        return words[i].text in ("and", "or", "nor", "neither") or (i > ruled.said and bool(words[i].breaks))

    for i in inside:
        word = words[i]
        if stop(i) or word.text in ("out", "off", "away"):
            close(i)
            start = None
        if word.text in ("and", "or", "nor", "neither", "out", "off", "away"):
            continue
        if start is None:
            if word.text in _ARTICLES | _FILLER | _set("in on with as like") and i + 1 < ruled.end:
                continue
            start = i
        elif word.text in _PREPOSITIONS and _place_ends(words, i):
            close(i)
            return things
    close(ruled.end)
    return things
