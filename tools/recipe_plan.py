"""From a foreign recipe to a plan for the base in force: what is carried over, and every field that is not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import DiffGraphError, UserError
from ..files.hashing import file_sha256
from ..graph.experts.expert import Frozen
from ..merging.plan.drawable import drawability
from ..merging.plan.foreign.recipe import Extra, ForeignBase, ForeignExpert, ForeignRecipe, extra
from ..merging.plan.foreign.values import fold
from ..merging.plan.merge_plan import MergePlan, Method, PlanBase, PlanExpert, PlanVae, Sampler
from ..merging.plan.prompt_fit import clip_skip_problem, text_side
from ..merging.plan.samplers import SPACINGS, problem, spacing_of, understood
from ..merging.plan.vae import pin_vae
from .component_weights import apart
from .context import Context
from .png_names import own_sampler
from .recipe_experts import Candidate, Match, OnFile, Shelf, weight_files

LEAST = 8
"""Pixels of a side that an image may have."""


class RecipePlan(Frozen):
    """A recipe, and the plan that is nearest to it here.

    Attributes:
        plan: None if there is no base to plan for; ``notes`` says why.
        experts: what became of each expert that the recipe names, in its order.
        left_out: what the recipe says and the plan does not hold, field by field.
        notes: what is odd about the image, and what was changed on the way, as sentences.
        complete: whether every expert that changes weights was found.
    """

    recipe: ForeignRecipe
    plan: MergePlan | None = None
    experts: tuple[Match, ...] = ()
    left_out: tuple[Extra, ...] = ()
    notes: tuple[str, ...] = ()
    complete: bool = False


def plan_of_recipe(
    ctx: Context, recipe: ForeignRecipe, folders: Sequence[Path] = (), on_file: OnFile | None = None
) -> RecipePlan:
    """The plan for a recipe, with the experts of the graph and of folders.

    Raises:
        UserError: a folder that is not there, or a base that is none.
    """
    shelf = Shelf.open(ctx, folders, on_file)
    made = _Making(ctx, recipe, weight_files(folders))
    matched = [shelf.match(one, ctx.family) for one in recipe.experts]
    specs = [made.expert(match, found, shelf) for match, found in matched]
    shelf.memo.save()
    experts = _each_once([spec for spec in specs if spec is not None], made)
    plan = made.plan(experts)
    weights = [match for match, _ in matched if match.named.kind == "lora"]
    return RecipePlan(
        recipe=recipe,
        plan=plan,
        experts=tuple(match for match, _ in matched),
        left_out=tuple(made.left_out),
        notes=(*recipe.notes, *dict.fromkeys(made.notes)),
        complete=all(match.expert for match in weights),
    )


class _Making:
    """One plan in the making; collects what is left out and what is said."""

    def __init__(self, ctx: Context, recipe: ForeignRecipe, files: Sequence[Path] = ()) -> None:
        self.ctx, self.recipe, self.files = ctx, recipe, files
        self.own = {one.sha256: one for one in recipe.plan.experts} if recipe.plan else {}
        self.left_out: list[Extra] = []
        self.notes: list[str] = []

    def leave(self, field: str, value: object) -> None:
        self.left_out.append(extra(field, value))

    # -- experts -----------------------------------------------------------------------------------------------------

    def expert(self, match: Match, found: Candidate | None, shelf: Shelf) -> PlanExpert | None:
        """The plan's entry for an expert; None if it is not here, or is none that a plan can hold."""
        named = match.named
        if named.kind != "lora" or (found is not None and found.kind == "textual_inversion"):
            what = "hypernetwork" if named.kind == "hypernetwork" else "textual inversion"
            why = "its word stays in the prompt" if what == "textual inversion" else "no plan holds one"
            self.leave(what, f"{named.name}: {why}")
            return None
        if found is None:
            self.leave("expert", named.name or named.where or ", ".join(named.hashes))
            return None
        if found.family not in (self.ctx.family, "", "unknown"):
            self.leave("expert", f"{found.id}: it is for {found.family}, the base in force is {self.ctx.family}")
            return None
        digest = shelf.sha256(found)
        if (mine := self.own.get(digest)) is not None:
            return mine.model_copy(update={"ref": found.ref})
        weight, components = self._weights(named)
        return PlanExpert(
            id=found.id, ref=found.ref, sha256=digest, weight=weight, facet=found.facet, components=components
        )

    def _weights(self, named: ForeignExpert) -> tuple[float, dict[str, float]]:
        """(weight, factors of components) for a weight on the denoiser and another one on the text encoders."""
        if named.weight is None:
            self.notes.append(f"the recipe gives no weight for {named.name or named.where}: 1 is taken")
        weight = 1.0 if named.weight is None else named.weight
        clip = named.clip_weight
        if clip is None or clip == weight:
            return weight, {}
        weighed = apart(self.ctx.machinery.index, weight, clip)
        if weighed is None:
            self.leave(f"text encoders' weight of {named.name}", clip)
        return weighed or (weight, {})

    # -- the plan ----------------------------------------------------------------------------------------------------

    def plan(self, experts: list[PlanExpert]) -> MergePlan:
        """The plan with these experts."""
        recipe, base = self.recipe, self.ctx.machinery.base
        self.notes += _about_base(recipe.base, base)
        seed = self._seed()
        if recipe.plan is not None:
            update: dict[str, object] = {"base": base, "experts": tuple(experts), "seeds": (seed,)}
            if recipe.plan.schedule is not None and [one.id for one in experts] != [e.id for e in recipe.plan.experts]:
                self.leave("schedule", f"{recipe.plan.schedule.kind}: it is for other experts")
                update["schedule"] = None
            return MergePlan.model_validate(recipe.plan.model_copy(update=update).model_dump())
        negative = recipe.negative_prompt
        if negative and not self.ctx.profile.negative_prompt:
            self.leave("negative prompt", negative)
            negative = ""
        sampler = self._sampler(len(experts))
        if negative and sampler.guidance <= 1:
            self.leave("negative prompt", f"{negative}: it acts through guidance, and a scale of 1 is none")
            negative = ""
        # What is left of a plan of ours whose own record is gone: the sum is what this plan does.
        self.left_out += [one for one in recipe.extras if (one.name, one.value) != ("Merge method", Method().name)]
        return MergePlan(
            base=base,
            experts=tuple(experts),
            prompt=recipe.prompt,
            negative_prompt=negative,
            sampler=sampler,
            seeds=(seed,),
            vae=self._vae(),
        )

    def _seed(self) -> int:
        if self.recipe.seed is not None and self.recipe.seed >= 0:
            return self.recipe.seed
        self.notes.append("the recipe gives no seed: 0 is taken, so the image will be another one")
        return 0

    def _sampler(self, experts: int) -> Sampler:
        """The recipe's sampler, steps, guidance and size, each where a plan can hold it; else the base's own."""
        recipe, own = self.recipe, self.ctx.sampler(experts)
        said: dict[str, object] = {}
        guidance = recipe.guidance
        if recipe.distilled_guidance is not None and not self.ctx.profile.negative_prompt:
            if guidance not in (None, 1.0):
                self.leave("CFG scale", guidance)
            guidance = recipe.distilled_guidance
        elif recipe.distilled_guidance is not None:
            self.leave("distilled guidance", recipe.distilled_guidance)
        for field, value, low, high in (("steps", recipe.steps, 1, 1000), ("guidance", guidance, 0, 50)):
            if value is not None and low <= value <= high:
                said[field] = value
            elif value is not None:
                self.leave(field, value)
        said |= {"name": self._sampler_name(own.name), "clip_skip": self._clip_skip(), **self._size()}
        return own.model_copy(update=said)

    def _sampler_name(self, own: str) -> str:
        """The recipe's sampler and spacing of steps, each where the base can be drawn so; else the base's own."""
        said, found = self.recipe.sampler, understood(self.recipe.sampler)
        schedule = self.recipe.scheduler or found.schedule
        spacing = spacing_of(schedule)
        here = drawability(self.ctx.machinery.index.path).scheduler
        if spacing is None or (spacing and found.name in ("", "default")):
            self.leave("scheduler", schedule)
            spacing = ""
        if not found.known or (here is not None and problem(found.name, here)):
            self.leave("sampler", said)
            return own
        if found.name == "default":
            return own
        if spacing and here is not None and problem(f"{found.name}_{spacing}", here):
            self.leave("scheduler", schedule)
            spacing = ""
        if here is not None and here.way == "flow" and not (spacing and SPACINGS[spacing].flow):
            return own if found.name == "euler" else found.name  # the base's own spacing; its own sampler is Euler's
        name = f"{found.name}_{spacing}" if spacing else found.name
        return own if name == own_sampler(self.ctx.machinery.index.path) else name

    def _clip_skip(self) -> int | None:
        """The recipe's, where it is not what the base does by itself: SDXL reads the last layer but one anyway."""
        skip = self.recipe.clip_skip
        if skip in (None, 1) or (skip == 2 and "xl" in self.ctx.family.lower()):
            return None
        side = text_side(self.ctx.machinery.index.path)
        if side is None or clip_skip_problem(side.clip_layers, side.weighs, skip):
            self.leave("clip skip", skip)
            return None
        return skip

    def _vae(self) -> PlanVae | None:
        """The VAE that the recipe names, from the folders at hand."""
        named = self.recipe.vae
        if not named.said:
            return None
        for path in self.files:
            if fold(path.name) == fold(named.name) or (named.hashes and file_sha256(path).startswith(named.hashes)):
                with suppress(DiffGraphError):
                    found = pin_vae(path)
                    if named.hashes and not found.sha256.startswith(named.hashes):
                        self.notes.append(f"the VAE {path.name} is another version: hash {found.sha256[:10]} here")
                    return found
        self.leave("VAE", f"{named.name or named.hashes[0]}: not here; say --experts FOLDER with it")
        return None

    def _size(self) -> dict[str, int]:
        width, height = self.recipe.width, self.recipe.height
        if width is None or height is None:
            return {}
        if not (LEAST <= width <= 2**14 and LEAST <= height <= 2**14):
            self.leave("size", f"{width}x{height}")
            return {}
        multiple = math.lcm(LEAST, (drawability(self.ctx.machinery.index.path).multiple or LEAST))
        sides = max(multiple, width // multiple * multiple), max(multiple, height // multiple * multiple)
        if sides != (width, height):
            self.notes.append(
                f"the size {width}x{height} becomes {sides[0]}x{sides[1]}: sides are multiples of {multiple}"
            )
        return {"width": sides[0], "height": sides[1]}


def _each_once(specs: list[PlanExpert], made: _Making) -> list[PlanExpert]:
    """Experts that are named twice as one with the sum of the weights, as programs add them; ids made different."""
    out: dict[str, PlanExpert] = {}
    for spec in specs:
        before = out.get(spec.sha256)
        if before is None:
            taken = {one.id for one in out.values()}
            numbers = (f"{spec.id}-{at}" for at in range(2, len(specs) + 2))
            free = next(one for one in (spec.id, *numbers) if one not in taken)
            out[spec.sha256] = spec if free == spec.id else spec.model_copy(update={"id": free})
        elif before.components == spec.components:
            total = before.weight + spec.weight
            out[spec.sha256] = before.model_copy(update={"weight": total})
            made.notes.append(f"{spec.id} is named twice: its weights add up to {total:g}")
        else:
            made.leave("second weight of an expert", f"{spec.id}: {spec.weight:g}")
    return list(out.values())


def _about_base(said: ForeignBase, base: PlanBase) -> list[str]:
    """A sentence where the recipe was made on another base than the plan is for, or may have been."""
    if not said.said or base.sha256.startswith(said.hashes or ("-",)):
        return []
    called = said.name or said.where or f"hash {said.hashes[0]}"
    ours = base.ref.partition(":")[2] or base.ref
    if said.name and fold(said.name) == fold(ours):
        return [f"the base is the recipe's by its name, {called}; its hash is that of another form or version"]
    about = f" (hash {said.hashes[0]})" if said.hashes and said.name else ""
    return [f"the image was made on {called}{about}; the plan is for the base in force, {ours}"]


def without_base(recipe: ForeignRecipe, why: UserError) -> RecipePlan:
    """What can be told where there is no base to plan for."""
    return RecipePlan(recipe=recipe, notes=(*recipe.notes, f"no plan: {why}"))
