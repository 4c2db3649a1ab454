"""Words that call an expert: split into groups, told from what only fills a field, found in running text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .plain import MAX_READ, MAX_TEXT, clean, is_nothing

Groups = tuple[tuple[str, ...], ...]
MAX_WORDS = 24
MAX_GROUPS = 32
MAX_LINE = 600
_MAX_GROUP = 2_000
_SEPARATOR = re.compile(r"[,，、;；\n\r|]")
_LORA = re.compile(r"<(?:lora|lyco|hypernet):[^<>\n]{0,200}>", re.I)
_WEIGHTED = re.compile(r"^[(\[{]{1,4}(.{1,200}?)(?::\d{0,2}\.?\d{0,3})?[)\]}]{1,4}$")
_ESCAPED = {ord("⦅"): "(", ord("⦆"): ")"}
_QUOTES = " \t\"'`“”‘’«»*_.:"
GENERIC = frozenset((
    "1girl", "1boy", "2girls", "2boys", "1other", "girl", "boy", "man", "woman", "person", "solo", "solo focus",
    "looking at viewer", "masterpiece", "best quality", "quality", "highres", "absurdres", "simple background",
    "white background", "upper body", "full body", "photo", "a photo", "raw photo", "photograph", "image",
    "picture", "high quality", "4k", "8k", "hd", "uhd", "realistic", "photorealistic", "anime", "art", "lora",
    "style", "detailed", "ultra detailed", "score_9", "score_8_up", "score_7_up", "newest", "very aesthetic",
    "amazing quality", "long hair", "short hair", "smile", "blush", "open mouth", "breasts", "standing", "simple",
    "male focus", "no humans",
))  # fmt: skip
"""Tags that stand on half of all pictures: they call nothing by themselves."""
_SCENE = re.compile(r"^(in|on|at|with|inside|under|against|near|by|from|standing|sitting|wearing)\s", re.I)


def group(text: object) -> tuple[str, ...]:
    """The words of one list, ``"ohwx man, (blue hair:1.2)"``; () for what is no word: null, None, ``<lora:x:1>``."""
    if not isinstance(text, str):
        return ()
    bare = _LORA.sub(",", text[:_MAX_GROUP])
    words = (_word(part) for part in _SEPARATOR.split(bare))
    return tuple(dict.fromkeys(word for word in words if word and not is_nothing(word)))[:MAX_WORDS]


def groups(values: Iterable[object]) -> Groups:
    """A group a value, without repetition."""
    made = (group(value) for _, value in zip(range(4 * MAX_GROUPS), values, strict=False))
    return tuple(dict.fromkeys(one for one in made if one))[:MAX_GROUPS]


def flat(found: Groups) -> tuple[str, ...]:
    """All words of all groups, each once."""
    return tuple(dict.fromkeys(word for one in found for word in one))


def same_words(a: Groups, b: Groups) -> bool:
    """Whether two lists hold the same words, however they are grouped."""
    return {w.casefold() for w in flat(a)} == {w.casefold() for w in flat(b)}


def calls(words: Iterable[str]) -> tuple[str, ...]:
    """Those words of a group that may call something: no scene ("in a forest"), no tag of half of all pictures."""
    listed = tuple(words)
    kept = tuple(w for w in listed if w.casefold() not in GENERIC and not _SCENE.match(w))
    return kept or listed[:1]


def _word(part: str) -> str:
    part = part.strip(_QUOTES)
    if (found := _WEIGHTED.match(part)) is not None:
        part = found[1]
    part = part.translate(_ESCAPED).replace("\\(", "(").replace("\\)", ")")
    return clean(part.strip(_QUOTES), MAX_TEXT)


# -- in running text

_SAYS = re.compile(
    r"(?:trigger(?:ed by|ing)?(?: ?-?(?:words?|phrases?|tokens?|tags?|prompts?|text|keywords?))?"
    r"|activation (?:text|words?|tokens?|tags?|prompt|phrase|keywords?)|activat(?:e|ed) (?:with|by|it with)"
    r"|instance prompt|key ?words?|magic words?|触发词|觸發詞|触发|トリガーワード|トリガー)",
    re.I,
)
_USE = re.compile(r"\b(?:use|using|add|include|type|write|put|prompt with|start with|with)\b", re.I)
_TO_TRIGGER = re.compile(
    r"\bto (?:trigger|activate|call|invoke|get the|use the|prompt)\b|\bin (?:the|your) prompt", re.I
)
_CODE = re.compile(r"`([^`\n]{1,200})`")
_QUOTED = re.compile(
    r"`([^`\n]{1,200})`|“([^”\n]{1,120})”|\"([^\"\n]{1,120})\"|«([^»\n]{1,120})»|'([^'\n]{2,60})'(?!\w)|「([^」\n]{1,60})」"
)
_SHORT = 120
_TELLS = re.compile(
    r"^(?:\(s\)|s\b)?[\s*_]{0,8}(?:[:：=>]|[-–—]{1,2}[>\s]|→|is\b|are\b|was\b|will be\b"
    r"|(?:words?|phrases?|tokens?|tags?)[\s*_]{0,4}(?:[:：=>]|is\b|are\b))",
    re.I,
)
"""What stands between "trigger words" and the words."""
_LEAD = re.compile(
    r"^(?:\s|[:：=>*_|\-–—→]|\(s\)|s\b|is\b|are\b|was\b|be\b|the\b|following\b|words?\b|you\b|should\b|just\b|use\b|using\b|add\b)"
    r"{0,12}",
    re.I,
)
_END = re.compile(r"[.!?。！？](?:\s|$)|\s[-–—]\s|\bto (?:trigger|activate)\b|[()<>{}\[\]]|\bfor (?:the|best)\b", re.I)
_DENIED = re.compile(r"\b(?:no|not|without|any|doesn'?t|don'?t|isn'?t|needless)\b.{0,24}$", re.I)
_PROSE = frozenset((
    "a", "an", "the", "and", "or", "to", "from", "like", "etc", "you", "your", "i", "it", "this", "that", "can",
    "should", "need", "needed", "optional", "any", "not", "if", "when", "work", "works", "use", "used", "please",
    "will", "also", "have", "has", "there", "they", "we", "be", "for", "them", "by", "required", "weight",
    "necessary", "isn't",
    "aren't", "don't", "doesn't", "no", "none", "nothing", "prompt", "prompts", "suggested", "parameters", "image",
    "training", "different", "various", "below", "above", "here", "see", "following",
))  # fmt: skip
_MAX_SCRIPT = 14
"""Letters of a word in a script without blanks; more are a sentence."""


def in_text(text: str) -> Groups:
    """Triggers that a card or a description names: "Trigger words: …", "use `pixfox` to trigger", a heading.

    Args:
        text: without markup but for code spans; `MAX_READ` characters of it are looked at, `MAX_LINE` of a line.
    """
    found: list[tuple[str, ...]] = []
    expecting = bullets = False
    text = text[:MAX_READ].replace("\\(", "⦅").replace("\\)", "⦆")  # part of a word, as in "fox \\(film\\)"
    for raw in text.splitlines():
        line = raw[:MAX_LINE].strip()
        if not line:
            continue
        says = _SAYS.search(line)
        listed = line.startswith(("-", "*", "+", "•"))
        if expecting and says is None and not line.startswith("#") and (listed or not bullets):
            found += _named(line.lstrip("-*+• "))
            expecting = bullets = listed
        elif says is not None:
            named, expecting = _beside(line, says.start(), says.end())
            found, bullets = found + named, False
        else:
            expecting = False
            found += _used(line)
        if len(found) >= MAX_GROUPS:
            break
    return tuple(dict.fromkeys(one for one in found if one))[:MAX_GROUPS]


def _beside(line: str, start: int, end: int) -> tuple[list[tuple[str, ...]], bool]:
    """What a line that speaks of triggers names, and whether the words stand on the next line."""
    if _DENIED.search(line[:start]):
        return [], False
    after = line[end:]
    if _TELLS.match(after):
        named = _named(after)
        return named, not named and not _LEAD.sub("", after)
    before = line[:start].rstrip().removesuffix(" to")
    if (use := _USE.search(before)) is not None and (named := _named(before[use.end() :])):
        return named, False  # "use X to trigger it" names the word before
    bare = after.strip(" .!")
    if _QUOTED.match(bare) or (bare and " " not in bare):
        return _named(bare), False
    code = _CODE.findall(after)
    return [group(code[0])] if code else [], not _LEAD.sub("", after)


def _used(line: str) -> list[tuple[str, ...]]:
    """The words in code that a line says to use."""
    use = _USE.search(line)
    if use is None or (len(line) >= _SHORT and not _TO_TRIGGER.search(line)):
        return []
    return [words for code in _CODE.findall(line[use.end() :])[:1] if (words := _fitting(group(code)))]


def _fitting(words: tuple[str, ...]) -> tuple[str, ...]:
    return words if all(_fit(word) for word in words) else ()


def _named(text: str) -> list[tuple[str, ...]]:
    """The group that a text begins with: in code or quotes, else the bare words up to the end of the sentence."""
    rest = _LEAD.sub("", text)
    if (first := _QUOTED.match(rest)) is not None and not rest[first.end() :].lstrip().startswith((",", "and ", "or ")):
        words = _fitting(group(next(filter(None, first.groups()), "")))
        return [words] if words else []
    end = _END.search(rest)
    rest = rest[: end.start()] if end is not None else rest
    if "," not in rest:
        rest = rest.replace(" or ", ", ").replace(" and ", ", ")
    words = group(rest)
    plain = not any(_PROSE.intersection(word.casefold().split()) for word in words)
    return [words] if words and plain and _fitting(words) else []


def _fit(word: str) -> bool:
    """Whether a piece of text can be a trigger: short, no sentence, no file, no number."""
    parts = word.split()
    if not parts or len(parts) > 6 or len(word) > MAX_TEXT or is_nothing(word):
        return False
    if word.casefold().endswith((".safetensors", ".py", ".png", ".json", "()")) or "://" in word or "=" in word:
        return False
    if ":" in word or "：" in word or any(len(part) > _MAX_SCRIPT and not part.isascii() for part in parts):
        return False
    return any(c.isalpha() for c in word)
