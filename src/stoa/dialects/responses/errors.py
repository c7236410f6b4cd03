"""Refusals in the form that OpenAI's clients expect. An unreadable request is answered 400, from which they raise
BadRequestError. (The router's other routes answer 422, as the contract says.)"""

from collections.abc import Generator
from contextlib import contextmanager

from stoa.kernel.errors import BadRequest, NotFound


class PreviousMissing(NotFound):
    """The previous response does not exist. OpenAI's clients recognize the code and start a new chain."""

    code = "previous_response_not_found"


class InvalidRequest(BadRequest):
    """A BadRequest of a Responses route."""

    code = "invalid_request_error"


@contextmanager
def as_openai() -> Generator[None]:
    try:
        yield
    except BadRequest as error:
        if type(error) is not BadRequest:
            raise
        raise InvalidRequest(error.message, details=error.details) from error
