"""Prompts for chat models, one file each."""

from .loader import Prompt, data, ids, load, read, read_data

__all__ = ["Prompt", "data", "ids", "load", "read", "read_data"]
