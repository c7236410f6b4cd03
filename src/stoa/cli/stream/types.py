# Written by tools/clients/carried.py from clients/python/src/stoa_client/types.py; change that.
"""What the events of a run are made of."""

from stoa.cli.stream.records import Record


class Usage(Record):
    """The sum over all calls of the model. `estimated` is true if a provider sent no counts; `cost_usd` is set if the
    price is known."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int | None
    reasoning_tokens: int | None
    estimated: bool | None
    cost_usd: float | None
    finish_reason: str | None


class ErrorDetail(Record):
    code: str
    message: str


class RunErrorDetail(Record):
    code: str
    message: str
    retryable: bool
