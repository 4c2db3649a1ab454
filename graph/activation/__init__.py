"""From a prompt to the few experts that it needs: read it into facets, match skills, solve for the experts."""

from __future__ import annotations

from .models import Activation as Activation
from .models import ActiveExpert as ActiveExpert
from .models import FacetMatch as FacetMatch
from .models import Leftover as Leftover
from .models import Reading as Reading
from .models import Span as Span
from .reading import facets as facets
from .solver import activate as activate
from .vocabulary import Vocabulary as Vocabulary

__all__ = [
    "Activation",
    "ActiveExpert",
    "FacetMatch",
    "Leftover",
    "Reading",
    "Span",
    "Vocabulary",
    "activate",
    "facets",
]
