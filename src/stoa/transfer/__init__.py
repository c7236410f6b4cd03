"""Export and import of a project: every table that the slices name, in checksummed parts. The public interface."""

from stoa.transfer.exports import Exports
from stoa.transfer.service import Imports

__all__ = ["Exports", "Imports"]
