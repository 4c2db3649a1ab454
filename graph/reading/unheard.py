"""Words at an emphasis of nought, ``(pixel art:0)``: they stay in the prompt, weigh nothing, and call for nobody."""

from __future__ import annotations

from .orders import WEIGHTED
from .request import Request
from .words import tokenise


def without_unheard(request: Request) -> Request:
    """The request with blanks for such words in ``plain``, which is read for skills; all else as it is."""
    texts = {one.text for one in request.orders.emphasis if one.weight <= 0}
    if not texts:
        return request
    weighted = (m for m in WEIGHTED.finditer(request.text) if m[0].startswith("(") and float(m[2]) <= 0)
    silent = [match.span(1) for match in weighted if match[1].strip() in texts]
    plain = request.plain
    for token in tokenise(plain):
        start, end = request.typed(token.start, token.end)
        if any(a <= start and end <= b for a, b in silent):
            plain = plain[: token.start] + " " * (token.end - token.start) + plain[token.end :]
    return request.model_copy(update={"plain": plain})
