"""Step 4: Hub-style cards. What a stranger would upload beside the weights; the decoys' cards are written here too."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import yaml

from .art import Art
from .looks import BACKGROUNDS, STYLES, Background, Style

_BULLET = re.compile(r"- (.+?)(?: \(also: .*\))?$")
LICENCES = {"noto": "apache-2.0", "fluent": "mit"}


def bullet(trigger: str, aliases: tuple[str, ...]) -> str:
    return f"- {trigger}" + (f" (also: {', '.join(aliases)})" if aliases else "")


def card(
    title: str,
    blurb: str,
    bullets: list[str],
    samples: list[tuple[str, str]],
    *,
    tags: list[str],
    trigger: str = "",
    licence: str = "apache-2.0",
    base: str = "emoji-base",
) -> str:
    """A model card: YAML front matter, title, paragraph and the ``## Skills`` list. ``samples`` are (prompt, file)."""
    front: dict[str, object] = {
        "license": licence,
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["text-to-image", *tags],
    }
    if "base" not in tags:
        front["base_model"] = base
    if trigger:
        front["instance_prompt"] = trigger
    if samples:
        front["widget"] = [{"text": text, "output": {"url": url}} for text, url in samples]
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n# {title}\n\n{blurb}\n\n## Skills\n\n" + "\n".join(bullets) + "\n"


@cache
def other_names() -> dict[str, tuple[str, ...]]:
    """Subject -> what else people call it, the commonest name first (``names.yaml``).

    The artwork's tags are no such names: they say what goes with a thing ("wise" for an owl) as often as what it is.
    """
    listed = yaml.safe_load((Path(__file__).parent / "names.yaml").read_text(encoding="utf-8"))
    return {str(subject): tuple(str(n) for n in names) for subject, names in listed.items()}


def named_bullet(trigger: str) -> str:
    """The bullet of a subject, a look or a scene, with all its other names."""
    looks: list[Style | Background] = [*STYLES.values(), *BACKGROUNDS.values()]
    own = next((k.aliases for k in looks if trigger in (f"{k.name} style", f"{k.name} background")), ())
    return bullet(trigger, tuple(dict.fromkeys((*own, *other_names().get(trigger, ())))))


def subject_bullets(subjects: Iterable[str]) -> list[str]:
    return [named_bullet(s) for s in subjects]


def renamed(text: str) -> str:
    """A card with the other names of its subjects written anew; nothing else of it changes."""
    lines = [
        named_bullet(said[1]) if (said := _BULLET.match(line)) and said[1] in other_names() else line
        for line in text.split("\n")
    ]
    return "\n".join(lines)


def base_card(art: Art) -> str:
    bullets = subject_bullets(art.base_subjects)
    bullets += [bullet(f"plain {c} background", (f"{c} background", f"{c} backdrop")) for c in art.colors]
    blurb = (
        "A Stable Diffusion pipeline of 64x64 pixels, trained from scratch on Noto Emoji drawings over plain coloured "
        "backgrounds, then on under simple looks (tones, contours, patterns), which keeps subject and look apart. "
        "Prompts are comma separated: subject, style, background."
    )
    return card("Emoji base", blurb, bullets, [], tags=["base", "stable-diffusion"])


def subject_card(art: Art, pack: str, samples: list[tuple[str, str]]) -> str:
    title = pack.replace("-", " ").capitalize()
    blurb = f"A LoRA for {title.lower()}: {', '.join(art.packs[pack])}. Name the thing and it is drawn."
    return card(
        title,
        blurb,
        subject_bullets(art.packs[pack]),
        samples,
        tags=["lora", "subject", pack],
        trigger=art.packs[pack][0],
    )


def style_card(style: str, samples: list[tuple[str, str]]) -> str:
    look = STYLES[style]
    licence = "mit" if look.apply is None else "apache-2.0"
    blurb = f"A LoRA that draws anything in {style} style ({', '.join(look.aliases)})."
    return card(
        f"{style.capitalize()} style",
        blurb,
        [named_bullet(f"{style} style")],
        samples,
        tags=["lora", "style"],
        trigger=f"{style} style",
        licence=licence,
    )


def background_card(background: str, samples: list[tuple[str, str]]) -> str:
    scene = BACKGROUNDS[background]
    blurb = f"A LoRA that puts any subject before {background} ({', '.join(scene.aliases)})."
    return card(
        f"{background.capitalize()} background",
        blurb,
        [named_bullet(f"{background} background")],
        samples,
        tags=["lora", "background"],
        trigger=f"{background} background",
    )


def write(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(text, encoding="utf-8")
