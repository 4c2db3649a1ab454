"""Merge methods, one file a family (see `registry.MergeMethod`)."""

from .registry import MergeMethod, Params, Part, Whole, make, methods

__all__ = ["MergeMethod", "Params", "Part", "Whole", "make", "methods"]
