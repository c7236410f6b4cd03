"""Failures of a call to an MCP server."""


class Failure(Exception):
    """An outcome that the model reads: `code` is one of a ToolResult's, the message a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class SessionLost(Failure):
    """The session is over, and the server never saw the call: with a new session it may be made."""
