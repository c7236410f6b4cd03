"""What an app requires of each end user, connect tokens, and what users have connected. The public interface."""

from stoa.requirements.errors import RequirementsUnmet
from stoa.requirements.lending import Lending
from stoa.requirements.types import Lent

__all__ = ["Lending", "Lent", "RequirementsUnmet"]
