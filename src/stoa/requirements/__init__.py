"""What an app requires of each end user, connect tokens, and what users have connected. The public interface."""

from stoa.requirements.errors import RequirementsUnmet
from stoa.requirements.types import UserCredentials
from stoa.requirements.user_credentials import UserCredentialSource

__all__ = ["RequirementsUnmet", "UserCredentialSource", "UserCredentials"]
