"""Any base that diffusers can load: values that few bases draw badly with."""

from __future__ import annotations

from ..profile import Family
from . import GENERIC, family

family(Family(name=GENERIC))
