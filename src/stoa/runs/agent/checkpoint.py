"""What a run knows between two steps: enough to go on from there on any node. Plain data, to JSON and back."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self
from uuid import UUID, uuid5

from stoa.gateway import Usage


@dataclass(slots=True)
class CallState:
    """A tool call of a reply, from the model's wish to its result."""

    id: str
    name: str
    arguments: str
    """As the model wrote them, JSON or not."""
    begun: bool = False
    """Whether it may have been made: entered in the ledger before the call itself."""
    approved: bool = False
    asked: int = 0
    """Questions to people about it so far."""
    request_id: str | None = None
    """The open question to a person that it waits for."""
    params: dict[str, Any] | None = None
    """The arguments as a person changed them."""
    result: str | None = None
    error: dict[str, Any] | None = None
    child: "AgentState | None" = None
    """The helper that carries it, where it hands a part of the work on."""

    @property
    def settled(self) -> bool:
        return self.result is not None or self.error is not None


@dataclass(slots=True)
class Turn:
    """One reply of the model with its tool calls, or a `note` of ours to it."""

    text: str = ""
    calls: list[CallState] = field(default_factory=list[CallState])
    note: str | None = None
    provider: dict[str, Any] | None = None
    """What its provider wants back with it: `{source, data}`."""

    @property
    def open(self) -> bool:
        return any(not call.settled for call in self.calls)

    @classmethod
    def replayed(cls, stored: Mapping[str, Any]) -> "Turn":
        """Out of an earlier run's `turns_json`."""
        calls = [
            CallState(
                call["id"],
                call["name"],
                call["arguments"],
                result=None if call["failed"] else call["result"],
                error={"message": call["result"]} if call["failed"] else None,
            )
            for call in stored["calls"]
        ]
        return cls(stored["text"], calls, provider=stored.get("provider"))


@dataclass(slots=True)
class AgentState:
    """Of an agent or one of its helpers."""

    turns: list[Turn] = field(default_factory=list[Turn])
    iteration: int = 0
    repaired: bool = False
    compacted: bool = False
    brief: str | None = None
    """What a helper was asked to do."""

    @property
    def text(self) -> str:
        """All that was said so far, as it was streamed."""
        return "".join(turn.text for turn in self.turns)

    def calls(self) -> Iterator[CallState]:
        """Every call, those of helpers included."""
        for turn in self.turns:
            for call in turn.calls:
                yield call
                if call.child is not None:
                    yield from call.child.calls()


@dataclass(slots=True)
class RunCheckpoint:
    """The whole run: its agent's state, and what all its model calls used."""

    agent: AgentState = field(default_factory=AgentState)
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> Self:
        if stored is None:
            return cls()
        return cls(_agent(stored["agent"]), Usage(**stored["usage"]), stored["cost_usd"])


def _agent(stored: Mapping[str, Any]) -> AgentState:
    turns = [
        Turn(turn["text"], [_call(call) for call in turn["calls"]], turn["note"], turn.get("provider"))
        for turn in stored["turns"]
    ]
    return AgentState(turns, stored["iteration"], stored["repaired"], stored["compacted"], stored["brief"])


def _call(stored: Mapping[str, Any]) -> CallState:
    held: dict[str, Any] = {**stored, "child": _agent(stored["child"]) if stored["child"] else None}
    return CallState(**held)


def call_id(run_id: UUID, attempt: int, path: str, iteration: int, index: int) -> str:
    """Derived, so that it costs no randomness; another attempt's calls are other calls."""
    return str(uuid5(run_id, f"{attempt}/{path}/{iteration}/{index}"))


def turns_json(state: AgentState) -> list[dict[str, Any]] | None:
    """What later runs of the conversation replay, where there is more to it than one text: every call with its result."""
    if not any(turn.calls for turn in state.turns):
        return None
    turns: list[dict[str, Any]] = []
    for turn in state.turns:
        if turn.note is None:
            calls = [
                {
                    "id": call.id,
                    "name": call.name,
                    "arguments": call.arguments,
                    "failed": call.result is None,
                    "result": call.result if call.result is not None else (call.error or {}).get("message", NEVER_MADE),
                }
                for call in turn.calls
            ]
            kept = {"text": turn.text, "calls": calls}
            turns.append(kept | ({"provider": turn.provider} if turn.provider is not None else {}))
    return turns


NEVER_MADE = "This call was not made: the run ended before."
