"""Step 4: Hub-style cards. What a stranger would upload beside the weights; the decoys' cards are written here too."""

from __future__ import annotations

from pathlib import Path

import yaml

from .art import Art
from .looks import BACKGROUNDS, STYLES

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


def unambiguous(art: Art) -> dict[str, tuple[str, ...]]:
    """Each subject's aliases without those that another subject's name or tags share (``animal`` names nobody)."""
    owners: dict[str, set[str]] = {}
    for name in art.names:
        for alias in (name, *art.aliases[name]):
            owners.setdefault(alias.lower(), set()).add(name)
    return {n: tuple(a for a in art.aliases[n] if owners[a.lower()] == {n}) for n in art.names}


def base_card(art: Art) -> str:
    aliases = unambiguous(art)
    bullets = [bullet(s, aliases[s]) for s in art.base_subjects]
    bullets += [bullet(f"plain {c} background", (f"{c} background", f"{c} backdrop")) for c in art.colors]
    blurb = (
        "A Stable Diffusion pipeline of 64x64 pixels, trained from scratch on Noto Emoji drawings over plain coloured "
        "backgrounds, then on under simple looks (tones, contours, patterns), which keeps subject and look apart. "
        "Prompts are comma separated: subject, style, background."
    )
    return card("Emoji base", blurb, bullets, [], tags=["base", "stable-diffusion"])


def subject_card(art: Art, pack: str, samples: list[tuple[str, str]]) -> str:
    aliases = unambiguous(art)
    title = pack.replace("-", " ").capitalize()
    blurb = f"A LoRA for {title.lower()}: {', '.join(art.packs[pack])}. Name the thing and it is drawn."
    return card(
        title,
        blurb,
        [bullet(s, aliases[s]) for s in art.packs[pack]],
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
        [bullet(f"{style} style", look.aliases)],
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
        [bullet(f"{background} background", scene.aliases)],
        samples,
        tags=["lora", "background"],
        trigger=f"{background} background",
    )


def write(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(text, encoding="utf-8")
