"""Refusals as OpenAI's clients expect them: what this server cannot read is 400 with its own sentence, from which they
raise BadRequestError. (The router's other routes answer 422, as the contract has it.)"""

from collections.abc import Generator
from contextlib import contextmanager

from stoa.kernel.errors import BadRequest, NotFound


class PreviousMissing(NotFound):
    """The response that the request goes on from. Clients of this dialect know it by its code, and begin anew."""

    code = "previous_response_not_found"


class InvalidRequest(BadRequest):
    """A BadRequest of one of this dialect's routes."""

    code = "invalid_request_error"


@contextmanager
def as_openai() -> Generator[None]:
    try:
        yield
    except BadRequest as error:
        if type(error) is not BadRequest:
            raise
        raise InvalidRequest(error.message, details=error.details) from error
