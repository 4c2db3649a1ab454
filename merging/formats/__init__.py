"""Expert file formats, one file each: what their keys mean as canonical deltas (see `registry.Format`)."""

from .format import ExpertDelta, detect, expert_files, formats, read_expert

__all__ = ["ExpertDelta", "detect", "expert_files", "formats", "read_expert"]
