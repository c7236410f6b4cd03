"""Export and import of a project: all tables that the slices declare, in parts with checksums. The public interface."""

from stoa.transfer.exports import Exports
from stoa.transfer.service import Imports

__all__ = ["Exports", "Imports"]
