"""Expert file formats, one file each: what their keys mean as canonical deltas (see `format.Format`)."""

from ..deltas.expert_delta import ExpertDelta
from .format import formats
from .read import expert_files, read_expert

__all__ = ["ExpertDelta", "expert_files", "formats", "read_expert"]
