"""What agents remember about end users: messages in memories, notes in memory stores. The public interface."""

from stoa.memory.recalling import Recalling
from stoa.memory.rules import FILE_CHARACTERS_MAX, kept, one_spelling, path_problem
from stoa.memory.stores import MemoryStores
from stoa.memory.types import MemoryAddition, MemoryFile, RememberedMessage, Scope

__all__ = [
    "FILE_CHARACTERS_MAX",
    "MemoryAddition",
    "MemoryFile",
    "MemoryStores",
    "Recalling",
    "RememberedMessage",
    "Scope",
    "kept",
    "one_spelling",
    "path_problem",
]
