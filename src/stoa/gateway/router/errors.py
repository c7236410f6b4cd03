"""How the gateway refuses. A provider's failure becomes the status by which OpenAI's clients choose their exception:

code of the ModelError                        status  class of OpenAI's clients
├── model_refused_request, content_filtered,
│   context_length_exceeded                   400     BadRequestError
├── model_not_found                           404     NotFoundError
├── model_rate_limited                        429     RateLimitError
├── model_unauthorized, model_quota_exhausted 502     InternalServerError (the operator's credential, not the caller's)
├── model_timeout, model_stalled              504     InternalServerError
└── everything else                           502     InternalServerError
"""

import math
from collections.abc import Mapping
from typing import Final

from stoa.gateway.types import ModelError
from stoa.kernel.errors import AppError, BadRequest, Conflict, Forbidden, NotFound, RateLimited


class FromProvider(AppError):
    """A provider's failure. `reason` is the code of its ModelError."""

    reason = ""


class ProviderRefused(FromProvider, BadRequest):
    """The provider will not answer this request, now or later."""


class ProviderMissing(FromProvider, NotFound):
    """The provider does not know its own model any more."""


class ProviderLimited(FromProvider, RateLimited):
    """The provider answers no more requests for now."""


class ProviderFailed(FromProvider):
    status = 502
    code = "provider_failed"


class ProviderSlow(FromProvider):
    status = 504
    code = "provider_timeout"


class PriceUnknown(Forbidden):
    """A key with a spending limit may call only models whose price is known."""

    code = "price_unknown"


class SpendingLimitReached(RateLimited):
    code = "spending_limit_reached"

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after_seconds=3600)
        # OpenAI's clients would try a 429 again at once.
        self.headers["X-Should-Retry"] = "false"


class BeingAnswered(Conflict):
    """Another request with this Idempotency-Key is under way."""


RETRY_AFTER_SECONDS: Final = 5
"""Of a provider that is over its rate and does not say for how long."""
_STATUSES: Final[Mapping[str, type[FromProvider]]] = {
    "model_refused_request": ProviderRefused,
    "content_filtered": ProviderRefused,
    "context_length_exceeded": ProviderRefused,
    "model_not_found": ProviderMissing,
    "model_timeout": ProviderSlow,
    "model_stalled": ProviderSlow,
}


def refusal_of(error: ModelError) -> AppError:
    """What the caller is answered for a provider's failure before the first byte."""
    if error.code == "model_rate_limited":
        seconds = max(math.ceil(error.retry_after_seconds or RETRY_AFTER_SECONDS), 1)
        made: FromProvider = ProviderLimited(error.message, retry_after_seconds=seconds)
    else:
        made = _STATUSES.get(error.code, ProviderFailed)(error.message)
        if error.retry_after_seconds is not None:  # The caller waits as long as the provider asks us to.
            made.headers["Retry-After"] = str(max(math.ceil(error.retry_after_seconds), 1))
    made.reason = error.code
    return made


def code_of(error: AppError) -> str:
    """The code on the wire: the provider's failure by our name for it."""
    return error.reason if isinstance(error, FromProvider) else error.code
