"""Means on the sphere of directions: SLERP, NuSLERP and the Karcher mean.

All three mix the deltas with coefficients that depend only on their angles, so low rank stays low and nothing of full
size is formed. The merge tools that made these names known apply SLERP to whole weights; two fine-tunes of one base
are almost parallel there and SLERP is then the plain average. On task vectors, as here, the angles are real.

Weights give the position between the experts: of absolute weights w_i, expert i has the share w_i / sum w_j, and a
negative weight turns its delta round. The result is then scaled by sum w_j, so that, as in a sum, weights below 1
weaken; where they add up to 1 this changes nothing. ``normalize`` leaves that factor out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from .method import MergeMethod, Params, Part, register

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..deltas.delta import Delta

Axis = Literal["tensor", "row", "column"]

FLAT = 0.03
"""Where the sine of the angle between two experts, or the length of their mean direction, is below this, the mean is
linear. Next to opposite experts of unequal norms the coefficients would grow beyond 1 / FLAT and blow up the rest."""


class SphereParams(Params):
    normalize: bool = False
    """Shares only: leave out the factor sum |w_i| (mergekit's SLERPs know no other way)."""


class NuSlerpParams(SphereParams):
    by: Axis = "row"
    """What counts as one vector: the whole ``tensor``, each ``row`` (an output), or each ``column`` (an input)."""


@register
class Slerp(MergeMethod[SphereParams]):
    """Spherical linear interpolation (Shoemake 1985, "Animating rotation with quaternion curves", section 3.3)::

        slerp(a, b; t) = sin((1 - t) theta) / sin(theta) a + sin(t theta) / sin(theta) b

    with theta the angle between the deltas a and b, which are not normalised themselves, and t = w_b / (w_a + w_b).
    For more experts the two factors become the coefficients c_i of the weighted Karcher mean ``sum c_i a_i/|a_i|`` of
    the directions, of which they are the special case, so no order of pairs is needed. Where no great circle is given
    (parallel or opposite deltas, directions that cancel; see `FLAT`) it is the linear mean ``sum t_i a_i``, and a delta
    of 0 counts as absent.
    """

    name = "slerp"
    reference_url = "https://doi.org/10.1145/325334.325242"
    Params: ClassVar[type[Params]] = SphereParams

    def combine(self, parts: Sequence[Part], seed: int) -> Delta:
        return mixed(parts, "tensor", self.params.normalize)


@register
class NuSlerp(MergeMethod[NuSlerpParams]):
    """`Slerp` of every row or every column by its own angle, as mergekit's NuSLERP does."""

    name = "nuslerp"
    reference_url = "https://github.com/arcee-ai/mergekit/blob/main/docs/merge_methods.md"
    Params: ClassVar[type[Params]] = NuSlerpParams

    def combine(self, parts: Sequence[Part], seed: int) -> Delta:
        return mixed(parts, self.params.by, self.params.normalize)


@register
class Karcher(MergeMethod[SphereParams]):
    """The weighted Karcher (Riemannian) mean of the directions, at the weighted mean of the norms.

    The u that minimises ``sum t_i arccos(<u, u_i>) ** 2`` over unit vectors (Karcher 1977; Buss and Fillmore 2001,
    eq. 1 and algorithm A1), times ``sum t_i |a_i|``. Unlike `Slerp` the result does not lose length to unequal norms.
    """

    name = "karcher"
    reference_url = "https://doi.org/10.1145/502122.502124"
    Params: ClassVar[type[Params]] = SphereParams

    def combine(self, parts: Sequence[Part], seed: int) -> Delta:
        return mixed(parts, "tensor", self.params.normalize, equal_norms=True)


def mixed(parts: Sequence[Part], by: Axis, normalize: bool, *, equal_norms: bool = False) -> Delta:
    """``sum_i c_i a_i``, with coefficients by tensor, row or column (see the module). Low rank stays low."""
    import torch

    from ..deltas.delta import Delta, add

    gram = inner_products([part.delta for part in parts], by)
    given = torch.tensor([part.weight for part in parts], dtype=gram.dtype, device=gram.device)
    gram = gram * given.sign()[:, None] * given.sign()
    norms = gram.diagonal(dim1=-2, dim2=-1).clamp(min=0.0).sqrt()
    present = norms > 0.0
    safe = torch.where(present, norms, 1.0)
    strength = given.abs() * present
    total = strength.sum(dim=-1, keepdim=True)
    shares = strength / torch.where(total > 0.0, total, 1.0)
    factors = karcher_coefficients(gram / (safe[..., :, None] * safe[..., None, :]), shares)
    if equal_norms:
        factors = factors / safe * (shares * norms).sum(dim=-1, keepdim=True)
    factors = (factors * given.sign() * (1.0 if normalize else total)).to(torch.float32)
    if by == "tensor":
        return add([part.delta for part in parts], factors[0].tolist())
    scaled = []
    for part, factor in zip(parts, factors.unbind(dim=-1), strict=True):
        d = part.delta
        full = None if d.full is None else d.full * (factor[:, None] if by == "row" else factor)
        up = d.up * factor[:, None] if d.up is not None and by == "row" else d.up
        down = d.down * factor if d.down is not None and by == "column" else d.down
        scaled.append(Delta(d.shape, up, down, full))
    return add(scaled, [1.0] * len(scaled))


def inner_products(deltas: Sequence[Delta], by: Axis) -> Tensor:
    """Inner products of n deltas: (1, n, n) for ``tensor``, (rows, n, n) or (columns, n, n) else; float64 if there is.

    By factors for low rank: row by row, ``<a, b>`` is the row sum of ``(B_a (A_a A_bᵀ)) * B_b``.
    """
    import torch

    count = len(deltas)
    if by == "tensor":  # a few numbers, on the CPU whatever the deltas are on
        values = [[a.inner(b) if j <= i else 0.0 for j, b in enumerate(deltas)] for i, a in enumerate(deltas)]
        lower = torch.tensor(values, dtype=torch.float64)
        return (lower + lower.tril(-1).T)[None]
    device = deltas[0].device
    wide = torch.float32 if device.type == "mps" else torch.float64
    pairs: list[tuple[Tensor, Tensor]] = []  # each delta as left @ right.T, with the wanted axis on the left
    for d in deltas:
        if d.full is None and d.up is not None and d.down is not None:
            pairs.append((d.up, d.down.T) if by == "row" else (d.down.T, d.up))
        else:
            pairs.append((d.matrix() if by == "row" else d.matrix().T, torch.empty(0)))
    gram = torch.empty(pairs[0][0].shape[0], count, count, dtype=wide, device=device)
    for i in range(count):
        for j in range(i + 1):
            gram[:, i, j] = gram[:, j, i] = _axis_inner(pairs[i], pairs[j], wide)
    return gram


def _axis_inner(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], wide: torch.dtype) -> Tensor:
    (left_a, right_a), (left_b, right_b) = a, b
    if right_a.numel() and right_b.numel():
        return ((left_a.to(wide) @ (right_a.T.to(wide) @ right_b.to(wide))) * left_b.to(wide)).sum(dim=1)
    whole_a = left_a @ right_a.T if right_a.numel() else left_a
    whole_b = left_b @ right_b.T if right_b.numel() else left_b
    return (whole_a.to(wide) * whole_b.to(wide)).sum(dim=1)


def karcher_coefficients(cosines: Tensor, shares: Tensor) -> Tensor:
    """Coefficients c of the weighted Karcher mean ``sum_i c_i u_i`` of unit vectors, from their cosines alone.

    Gradient descent on the sphere with step 1, written in coefficients: with ``f_i = theta_i / sin(theta_i)`` and
    theta_i the angle from the mean to u_i, the step is ``t = s * f - (sum_j s_j f_j cos theta_j) c`` and the next
    mean ``cos|t| c + sin|t| t / |t|``. Squared distance on the unit sphere curves by at most 1, so a step of 1 never
    goes up. For two vectors the mean is known in closed form.

    Args:
        cosines: (..., n, n), symmetric, ones on the diagonal.
        shares: (..., n), not negative, adding up to 1; all 0 where nothing is there.

    Returns:
        (..., n). Where the mean is not unique because the vectors cancel, the shares themselves (a linear mean).
    """
    import torch

    if cosines.shape[-1] == 2:
        theta = cosines[..., 0, 1].clamp(-1.0, 1.0).arccos()[..., None]
        sine = theta.sin()
        return torch.where(sine > FLAT, (shares * theta).sin() / sine.clamp(min=FLAT), shares)

    def norm(c: Tensor) -> Tensor:
        return (c[..., None, :] @ cosines @ c[..., :, None])[..., 0].clamp(min=0.0).sqrt()

    length = norm(shares)
    unique = length > FLAT
    c = shares / torch.where(unique, length, 1.0)
    for _ in range(200):
        cosine = (cosines @ c[..., None])[..., 0].clamp(-1.0, 1.0)
        theta = cosine.arccos()
        # At 0 the ratio is 1; at pi no direction leads there, and the vector pulls nowhere.
        ratio = torch.where(theta > 1e-6, theta / theta.sin().clamp(min=1e-6), 1.0) * (theta < torch.pi - 1e-3)
        pull = shares * ratio
        step = pull - (pull * cosine).sum(dim=-1, keepdim=True) * c
        size = norm(step)
        c = size.cos() * c + torch.where(size > 0.0, size.sin() / torch.where(size > 0.0, size, 1.0), 1.0) * step
        c = c / torch.where(unique, norm(c), 1.0)
        if float((size * unique).max()) < 1e-10:
            break
    return torch.where(unique, c, shares)
