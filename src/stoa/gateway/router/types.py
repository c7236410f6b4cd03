"""The values of a gateway call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from stoa.gateway.router.open_calls import NOWHERE, Place
from stoa.gateway.types import Model, Usage
from stoa.kernel.principal import Principal

PriceOf = Callable[[Usage], float | None]
"""Returns the US dollars for a usage; None if no price is known."""


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """One model behind a slug of the operator. Lower `order` first; within one order, random by `weight`."""

    model: str
    weight: float = 1.0
    order: int = 0


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """A slug of the operator with several models."""

    slug: str
    targets: Sequence[TargetSettings]


@dataclass(frozen=True, slots=True)
class Target:
    """A model that can answer a call. `circuit` names the provider, whose failures are counted together."""

    slug: str
    circuit: str
    model: Model
    price: PriceOf


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as it was sent. `fields` is its body; the prompt's tokens are estimated from `prompt_characters`."""

    id: UUID
    principal: Principal
    project_id: UUID
    slug: str
    fields: Mapping[str, Any]
    prompt_characters: int

    @property
    def user(self) -> str | None:
        """The end user from OpenAI's or Anthropic's field, as it can be stored."""
        metadata = self.fields.get("metadata")
        user = self.fields.get("user") or (metadata.get("user_id") if isinstance(metadata, dict) else None)
        if not isinstance(user, str) or not user:
            return None
        return user.replace("\0", "").encode("utf-8", "replace").decode()[:255] or None


@dataclass(slots=True)
class CallProgress:
    """The result of a call so far. `usage` is the provider's count; if it sent none, tokens are estimated from the
    `characters` of the answer."""

    usage: Usage | None = None
    characters: int = 0
    began: bool = False
    """Whether the provider accepted the request: from then on the call is billed."""
    prompt: Usage | None = None
    """The provider's count of the prompt, before it has counted the answer."""
    place: Place = NOWHERE
    """Where the progress is recorded, in case this process is killed."""

    def report(self, usage: Usage) -> None:
        """Stores the provider's count."""
        self.usage = usage
        self.place.reported(usage)

    def report_prompt(self, usage: Usage) -> None:
        self.prompt = usage
        self.place.reported(usage, prompt_only=True)
