"""Files to passages, each in a process of its own that can be killed."""

from stoa.knowledge.converting.converter import Converter

__all__ = ["Converter"]
