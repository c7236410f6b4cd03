"""Refusals of this slice."""

from collections.abc import Mapping

from stoa.kernel.errors import Conflict


class RequirementsUnmet(Conflict):
    """An end user has not connected what the app requires. `details` maps the ids of requirements to their titles."""

    code = "requirements_unmet"

    def __init__(self, user_id: str | None, unmet: Mapping[str, str]) -> None:
        titles = ", ".join(unmet.values())
        message = (
            f"The user {user_id} has not connected what this app needs: {titles}. POST /v1/connect/tokens makes a link"
            " for that user."
            if user_id is not None
            else f"This app needs something of its user ({titles}), and it names no user: send user_id with a key."
        )
        super().__init__(message, details=unmet)
