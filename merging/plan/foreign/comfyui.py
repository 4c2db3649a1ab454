"""ComfyUI: ``prompt``, the graph that ran. It is followed from the sampler to prompts, experts, base and size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from . import civitai
from .comfy_experts import experts_of
from .comfy_graph import Graph, Node
from .image_text import ImageTexts, json_object
from .prompt_tags import embeddings
from .reader import reader
from .recipe import Extra, ForeignBase, ForeignExpert, ForeignRecipe, completed, extra
from .values import integer, name, number, stem, text

Number = TypeVar("Number", int, float)
_LATENTS = ("latent_image", "latent", "samples", "optional_latent")
_PIPES = ("pipe", "basic_pipe", "guider", "base_pipe", "sdxl_tuple")
_BASES = ("ckpt_name", "unet_name", "base_ckpt_name", "gguf_name", "model_name", "model_path")
_TEXTS = (
    "text",
    "t5xxl",
    "text_g",
    "prompt",
    "text_l",
    "clip_l",
    "clip_g",
    "string",
    "populated_text",
    "wildcard_text",
)
_ASIDE = frozenset(
    {"clip", "vae", "image", "images", "pixels", "latent", "latent_image", "samples", "control_net", "mask", "model"}
)
"""Inputs that do not lead from a conditioning to its text."""
_MAX_SAMPLERS = 64


@reader("comfyui", title="ComfyUI", order=60)
def read(texts: ImageTexts) -> ForeignRecipe | None:
    """The recipe of the first sampling pass; further passes are named."""
    for key in ("prompt", "parameters", "comment"):
        document = texts.document(key)
        graph = Graph(document) if document else None
        if document and graph and graph.nodes:
            found = _recipe(graph)
            listed = _of_civitai(document)
            if found and listed:
                return completed(found, listed)
            if found or listed:
                return found or listed
    return None


def _recipe(graph: Graph) -> ForeignRecipe | None:
    samplers = [node for node in graph.nodes.values() if _is_sampler(graph, node)][:_MAX_SAMPLERS]
    if not samplers:
        return None
    sampler = _first_pass(graph, samplers)
    parts = [sampler, *_parts(graph, sampler)]
    wanted, unwanted = (_Conditioning.of(graph, sampler, which) for which in ("positive", "negative"))
    models = list(_models(graph, parts))
    width, height = _size(graph, sampler)
    prompt, negative = wanted.text, unwanted.text
    base, others = _base(graph, models)
    passes = [node for node in samplers if node is not sampler]
    notes = (f"more than {len(graph.nodes)} nodes: the others are passed over",) if graph.cut else ()
    return ForeignRecipe(
        tool="ComfyUI",
        prompt=prompt,
        negative_prompt=negative,
        seed=_one(graph.integer, parts, "seed", "noise_seed"),
        steps=_one(graph.integer, parts, "steps"),
        guidance=_one(graph.number, parts, "cfg", "cfg_scale"),
        distilled_guidance=wanted.guidance,
        sampler=_word(graph, parts, "sampler_name"),
        scheduler=_word(graph, parts, "scheduler"),
        width=width,
        height=height,
        clip_skip=_clip_skip(graph, sampler),
        base=base,
        vae=_vae(graph),
        experts=(*_experts(graph, models), *embeddings(prompt, negative)),
        extras=(*others, *wanted.extras, *_of_sampling(graph, sampler, parts, models), *_of_passes(passes)),
        notes=notes,
    )


def _is_sampler(graph: Graph, node: Node) -> bool:
    told = any(graph.link(node.inputs.get(field)) is not None for field in ("positive", *_PIPES))
    runs = "sampler" in node.kind.lower() or ("steps" in node.inputs and any(one in node.inputs for one in _LATENTS))
    return told and runs


def _first_pass(graph: Graph, samplers: list[Node]) -> Node:
    """Of all samplers that feed an image that is kept, the one that no other one feeds."""
    ids = {node.id for node in samplers}
    fed = {before.id for node in graph.nodes.values() for _, before in graph.links(node)}
    kept = {node.id for node in graph.upstream(node for node in graph.nodes.values() if node.id not in fed)}

    def rank(node: Node) -> tuple[bool, int, int, str]:
        before = sum(1 for one in graph.upstream([node]) if one.id in ids) - 1
        return (node.id not in kept, before, integer(node.id) or 0, node.id)

    return min(samplers, key=rank)


def _parts(graph: Graph, sampler: Node) -> Iterator[Node]:
    """The nodes that a sampler in parts is made of: noise, guider, sampler, sigmas; and what pipes into a whole one."""
    for field in ("noise", "guider", "sampler", "sigmas", *_PIPES):
        before = graph.link(sampler.inputs.get(field))
        if before is not None:
            yield before


def _one(read: Callable[..., Number | None], parts: Iterable[Node], *fields: str) -> Number | None:
    return next((found for node in parts if (found := read(node, *fields)) is not None), None)


def _word(graph: Graph, parts: Iterable[Node], field: str) -> str:
    return next((found for node in parts if (found := graph.word(node, field))), "")


@dataclass(frozen=True)
class _Conditioning:
    """What leads to a sampler's ``positive`` or ``negative``: text, FLUX's guidance, and what else acts there."""

    text: str
    guidance: float | None
    extras: tuple[Extra, ...]

    @classmethod
    def of(cls, graph: Graph, sampler: Node, which: str) -> _Conditioning:
        fields = (which,) if sampler.inputs.get(which) is not None else ("conditioning", *_PIPES)
        starts = [before for field in fields if (before := graph.link(sampler.inputs.get(field))) is not None]
        if which == "negative" and not any(which in node.inputs for node in (sampler, *starts)):
            return cls("", None, ())

        def through(node: Node) -> list[Node]:
            if "zeroout" in node.kind.lower() or _texts_of(graph, node, which):
                return []
            if (before := graph.link(node.inputs.get(which))) is not None:
                return [before]
            return [before for field, before in graph.links(node) if field.lower() not in _ASIDE]

        said: dict[str, None] = {}
        extras: list[Extra] = []
        guidance = None
        for node in graph.upstream(starts, through):
            found = _texts_of(graph, node, which) if "zeroout" not in node.kind.lower() else []
            said.update(dict.fromkeys(found[:1]))
            extras += [extra("prompt of another text encoder", one) for one in found[1:]]
            if "guidance" in node.inputs and guidance is None:
                guidance = graph.number(node, "guidance")
            if (control := graph.link(node.inputs.get("control_net"))) is not None:
                extras.append(extra("ControlNet", graph.word(control, "control_net_name") or control.kind))
        return cls(text("\n".join(said)), guidance, tuple(extras[:20]))


def _texts_of(graph: Graph, node: Node, which: str) -> list[str]:
    """The texts that a node encodes, the main one first; a loader has them under ``positive`` and ``negative``."""
    own = node.inputs.get(which)
    if own is not None:  # a link to another conditioning, unless the node is one that loads and encodes
        said = graph.texts(node, which) if isinstance(own, str) or _loads(node) else ""
        return [said] if said else []
    found = (graph.texts(node, field) for field in _TEXTS if field in node.inputs)
    return list(dict.fromkeys(one for one in found if one))


def _loads(node: Node) -> bool:
    """Whether a node loads a base."""
    return any(field in node.inputs for field in _BASES)


def _models(graph: Graph, parts: list[Node]) -> Iterator[Node]:
    """The nodes along the model's way to the sampler, nearest first, with the stacks of experts beside it."""

    def through(node: Node) -> list[Node]:
        near = [(field.lower(), before) for field, before in graph.links(node)]
        told = [before for field, before in near if "model" in field or "lora" in field or "pipe" in field]
        return told or [before for field, before in near if field not in _ASIDE and "clip" not in field]

    starts = [
        before
        for node in parts
        for field in ("model", *_PIPES)
        if (before := graph.link(node.inputs.get(field))) is not None
    ]
    return graph.upstream(starts, through)


def _experts(graph: Graph, models: list[Node]) -> list[ForeignExpert]:
    """The experts along the way, in the order in which they act."""
    return [one for node in reversed(models) for one in experts_of(graph, node)]


def _base(graph: Graph, models: list[Node]) -> tuple[ForeignBase, list[Extra]]:
    found = []
    for node in models:
        for field in _BASES:
            value = node.inputs.get(field)
            called = name(value.get("content") if isinstance(value, dict) else value)
            if called and (field != "model_name" or "load" in node.kind.lower()):
                found.append(called)
                break
    if not found:
        return ForeignBase(), []
    base = ForeignBase(name=stem(found[0]), where=civitai.place(found[0]))
    return base, [extra("merged with the base", stem(one)) for one in dict.fromkeys(found[1:])]


def _size(graph: Graph, sampler: Node) -> tuple[int | None, int | None]:
    """Width and height of the empty latent that the first pass starts from."""
    starts = [before for field in (*_LATENTS, *_PIPES) if (before := graph.link(sampler.inputs.get(field))) is not None]
    for node in graph.upstream(starts):
        width = graph.integer(node, "width", "empty_latent_width")
        height = graph.integer(node, "height", "empty_latent_height")
        if width and height:
            return width, height
    return None, None


def _vae(graph: Graph) -> ForeignBase:
    """The VAE beside a whole checkpoint that decodes the image; the parts of other bases always come one by one."""
    for node in graph.nodes.values():
        source = graph.link(node.inputs.get("vae")) if "decode" in node.kind.lower() else None
        called = name(source.inputs.get("vae_name")) if source is not None else ""
        if called and any(field == "ckpt_name" for one in graph.nodes.values() for field in one.inputs):
            return ForeignBase(name=called)
    return ForeignBase()


def _clip_skip(graph: Graph, sampler: Node) -> int | None:
    start = graph.link(sampler.inputs.get("positive"))
    for node in graph.upstream([start] if start else []):
        layer = integer(node.inputs.get("stop_at_clip_layer", node.inputs.get("clip_skip")))
        if layer is not None and layer < 0:
            return -layer
    return None


_QUIET = ("reroute", "getnode", "setnode", "primitive", "context", "anything everywhere", "basic_pipe", "pipe")
"""Beginnings of the classes that only pass a model on."""


def _of_sampling(graph: Graph, sampler: Node, parts: list[Node], models: list[Node]) -> list[Extra]:
    """Whatever else shapes the first pass: denoising from an image, changes to the model on its way."""
    out = []
    denoise = _one(graph.number, parts, "denoise")
    if denoise is not None and denoise != 1.0:
        out.append(extra("denoise", denoise))
    starts = [before for field in _LATENTS if (before := graph.link(sampler.inputs.get(field))) is not None]
    if any("vaeencode" in node.kind.lower().replace(" ", "") for node in graph.upstream(starts)):
        out.append(extra("starts from", "another image"))
    for node in models:
        kind = node.kind.lower()
        if node not in parts and "lora" not in kind and not kind.startswith(_QUIET) and not _loads(node):
            out += [] if experts_of(graph, node) else [extra("changes the model", node.kind or f"node {node.id}")]
    return out[:20]


def _of_passes(passes: list[Node]) -> list[Extra]:
    return [extra("further sampling pass", node.kind or f"node {node.id}") for node in passes[:10]]


def _of_civitai(document: dict[str, object]) -> ForeignRecipe | None:
    """What Civitai's own generator writes beside the graph: ``extraMetadata``, and AIR names in ``extra``."""
    said = json_object(text(document.get("extraMetadata"), 2**20))
    if said is None:
        return None
    beside = document.get("extra")
    kinds = civitai.airs(beside.get("airs")) if isinstance(beside, dict) else {}
    base, experts = civitai.resources(said.get("resources"), kinds)
    return ForeignRecipe(
        tool="Civitai",
        prompt=text(said.get("prompt")),
        negative_prompt=text(said.get("negativePrompt")),
        seed=integer(said.get("seed")),
        steps=integer(said.get("steps")),
        guidance=number(said.get("cfgScale")),
        sampler=name(said.get("sampler")),
        base=base,
        experts=experts,
    )
