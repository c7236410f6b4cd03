"""What a call of the gateway is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from stoa.gateway.router.open_calls import NOWHERE, Place
from stoa.gateway.types import Model, Usage
from stoa.kernel.principal import Principal

PriceOf = Callable[[Usage], float | None]
"""US dollars for some usage; None where no price is known."""


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """One model behind a slug of the operator's. Lower `order` first; within one order, chosen by `weight`."""

    model: str
    weight: float = 1.0
    order: int = 0


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """A slug of the operator's that leads to several models."""

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
    """One request, as it was sent. `fields` is its body; `prompt_characters` what its prompt is estimated from."""

    id: UUID
    principal: Principal
    project_id: UUID
    slug: str
    fields: Mapping[str, Any]
    prompt_characters: int

    @property
    def user(self) -> str | None:
        """The end user, as the caller names them in OpenAI's or Anthropic's words, as it can be stored."""
        metadata = self.fields.get("metadata")
        user = self.fields.get("user") or (metadata.get("user_id") if isinstance(metadata, dict) else None)
        if not isinstance(user, str) or not user:
            return None
        return user.replace("\0", "").encode("utf-8", "replace").decode()[:255] or None


@dataclass(slots=True)
class Spoken:
    """What came of a call so far. `usage` is the provider's count; where it sent none, tokens are estimated from the
    `characters` of the answer."""

    usage: Usage | None = None
    characters: int = 0
    began: bool = False
    """Whether the provider took the request: from then on the call is a line of the bill."""
    prompt: Usage | None = None
    """What the provider counted of the prompt, before it has counted the answer."""
    place: Place = NOWHERE
    """Where what came is written for the case that this process is killed."""

    def report(self, usage: Usage) -> None:
        """The provider's count."""
        self.usage = usage
        self.place.reported(usage)

    def report_prompt(self, usage: Usage) -> None:
        self.prompt = usage
        self.place.reported(usage, prompt_only=True)
