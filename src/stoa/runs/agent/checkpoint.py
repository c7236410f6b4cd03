"""The state of a run between two steps: enough to continue on any node. Plain data, to JSON and back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self
from uuid import UUID, uuid5

import orjson

from stoa.gateway import Usage
from stoa.runs.agent.builtin import is_builtin
from stoa.runs.types import ModelUse

REPORTED_CHARACTERS_MAX: Final = 500
"""Characters of a call's arguments in the report of a subagent's calls."""


@dataclass(slots=True)
class CallState:
    """A tool call of a reply, from the model's request to its result."""

    id: str
    name: str
    arguments: str
    """As the model wrote them, JSON or not."""
    begun: bool = False
    """Whether it may have been made: set when it is entered in the ledger, before the call itself."""
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
    """The state of the subagent that it handed work to."""

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
    """Provider data that must be sent back with it: `{source, data}`."""

    @property
    def open(self) -> bool:
        return any(not call.settled for call in self.calls)

    @classmethod
    def replayed(cls, stored: Mapping[str, Any]) -> "Turn":
        """From an earlier run's `turns_json`."""
        calls = [
            CallState(
                call["id"],
                call["name"],
                call["arguments"],
                result=None if call["failed"] or call.get("client") else call["result"],
                error={"message": call["result"]} if call["failed"] and not call.get("client") else None,
            )
            for call in stored["calls"]
        ]
        return cls(stored["text"], calls, provider=stored.get("provider"))


@dataclass(slots=True)
class AgentState:
    """The state of an agent or of one of its subagents."""

    turns: list[Turn] = field(default_factory=list[Turn])
    iteration: int = 0
    repaired: bool = False
    compacted: bool = False
    brief: str | None = None
    """The task of a subagent."""

    @property
    def text(self) -> str:
        """All text so far, as it was streamed."""
        return "".join(turn.text for turn in self.turns)

    def calls(self) -> Iterator[CallState]:
        """Every call, those of subagents included."""
        for turn in self.turns:
            for call in turn.calls:
                yield call
                if call.child is not None:
                    yield from call.child.calls()


@dataclass(slots=True)
class RunCheckpoint:
    """The whole run: its agent's state, and the usage of all its model calls."""

    agent: AgentState = field(default_factory=AgentState)
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = None

    @property
    def text(self) -> str:
        """All text of the run so far."""
        return self.agent.text

    def calls(self) -> Iterator[CallState]:
        return self.agent.calls()

    def nodes_json(self, paths: Sequence[str]) -> Sequence[tuple[str, Mapping[str, Any]]]:  # noqa: ARG002 — it has none
        """The state of these nodes of a workflow, to be stored."""
        return ()

    def spend(self, uses: Iterable[ModelUse]) -> None:
        for use in uses:
            self.usage += use.usage
            if use.cost_usd is not None:
                self.cost_usd = (self.cost_usd or 0.0) + use.cost_usd

    def as_json(self) -> dict[str, Any]:
        """JSON that nodes of the previous release can read too, without `cache_write_tokens`, whose cost is
        included."""
        usage = asdict(self.usage)
        del usage["cache_write_tokens"]
        return {"agent": asdict(self.agent), "usage": usage, "cost_usd": self.cost_usd}

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> Self:
        if stored is None:
            return cls()
        return cls(agent_state(stored["agent"]), Usage(**stored["usage"]), stored["cost_usd"])


def agent_state(stored: Mapping[str, Any]) -> AgentState:
    turns = [
        Turn(turn["text"], [call_state(call) for call in turn["calls"]], turn["note"], turn.get("provider"))
        for turn in stored["turns"]
    ]
    return AgentState(turns, stored["iteration"], stored["repaired"], stored["compacted"], stored["brief"])


def call_state(stored: Mapping[str, Any]) -> CallState:
    fields: dict[str, Any] = {**stored, "child": agent_state(stored["child"]) if stored["child"] else None}
    return CallState(**fields)


def call_id(run_id: UUID, attempt: int, path: str, iteration: int, index: int) -> str:
    """Derived instead of random; the calls of another attempt get other ids."""
    return str(uuid5(run_id, f"{attempt}/{path}/{iteration}/{index}"))


def turns_json(state: AgentState, client_tools: frozenset[str] = frozenset()) -> list[dict[str, Any]] | None:
    """The part of the history that later runs read: every call with its outcome, except those of `client_tools`, whose
    results come with a later message. None if it made no calls."""
    if not any(turn.calls for turn in state.turns):
        return None
    return [
        {
            "text": turn.text,
            "calls": [_replayable(call, client_tools) for call in turn.calls],
            **({"provider": turn.provider} if turn.provider is not None else {}),
        }
        for turn in state.turns
        if turn.note is None
    ]


def client_names(options: Mapping[str, Any]) -> frozenset[str]:
    """The names of the client's own tools in a run's options."""
    wanted = options.get("wanted") or {}
    return frozenset(tool["name"] for tool in wanted.get("client_tools", ()))


def _replayable(call: CallState, client_tools: frozenset[str]) -> dict[str, Any]:
    """Uses the arguments of the actual call, because a person may have changed the model's."""
    open_ = {"client": True} if call.name in client_tools and not call.settled else {}
    return {
        **open_,
        "id": call.id,
        "name": call.name,
        "arguments": call.arguments if call.params is None else orjson.dumps(call.params).decode(),
        "failed": call.result is None,
        "result": outcome_of(call),
    }


NOT_MADE: Final = "This call was not made: the run ended before."
UNKNOWN: Final = (
    "Nobody knows whether this call was made: it had begun when the run ended, and its result was not received."
    " Do not take it for not made: find out before you make it again."
)


def outcome_of(call: CallState) -> str:
    """The outcome of a call for the model. The state is stored in one transaction with the ledger: a call that is not
    `begun` here is not in the ledger either, so it was certainly not made. Whether a begun call without a result was
    made is unknown.
    """
    if call.result is not None:
        return call.result
    if call.error is not None:
        return str(call.error.get("message", ""))
    if call.begun:
        return UNKNOWN
    if call.child is not None:
        return f"The run ended while a subagent worked on this.{calls_report(call.child)}"
    if call.request_id is not None and is_builtin(call.name):
        return "The question was asked, and the run ended before anybody answered."
    if call.request_id is not None:
        return "This call was not made: the run ended while it waited for a person's approval."
    return NOT_MADE


def calls_report(state: AgentState) -> str:
    """The outcomes of the tool calls of a subagent that did not finish: its parent must not repeat them."""
    lines = [f"{call.name}({_used(call)}): {_became(call)}" for call in state.calls() if not is_builtin(call.name)]
    return f" Its tool calls: {'; '.join(lines)}." if lines else ""


def _used(call: CallState) -> str:
    arguments = call.arguments if call.params is None else orjson.dumps(call.params).decode()
    return arguments if len(arguments) <= REPORTED_CHARACTERS_MAX else f"{arguments[:REPORTED_CHARACTERS_MAX]}…"


def _became(call: CallState) -> str:
    if call.result is not None:
        return "made"
    if call.error is not None and call.error.get("code") != "tool_outcome_unknown":
        return "failed" if call.begun else "not made"
    return "nobody knows whether it was made" if call.begun else "not made"
