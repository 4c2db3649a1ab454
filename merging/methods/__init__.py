"""Merge methods, one file a family (see `method.MergeMethod`).

All act on deltas from the base. Methods that merge tools apply to whole weights (SLERP, Karcher mean, Model Stock) are
defined on task vectors here. Weighting by block needs no method of its own: a plan's ``blocks`` scale each expert's
weight at each target before any method sees it, so every method is one weighted by block.
"""

from .method import MergeMethod, Params, Part, Whole, make, methods

__all__ = ["MergeMethod", "Params", "Part", "Whole", "make", "methods"]
