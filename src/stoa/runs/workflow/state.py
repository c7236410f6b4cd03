"""The state of a graph's run between two steps: one row per node. Plain data, convertible to JSON and back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from stoa.runs.agent.checkpoint import AgentState, CallState, RunCheckpoint, agent_state, call_state

Status: TypeAlias = Literal["waiting", "running", "completed", "failed", "skipped"]


@dataclass(slots=True)
class NodeState:
    status: Status = "waiting"
    output: Any = None
    error: dict[str, Any] | None = None
    reason: str | None = None
    """The reason for skipping it."""
    attempts: int = 0
    """Attempts begun so far."""
    agent: AgentState | None = None
    """The progress of an agent's or a model's node."""
    call: CallState | None = None
    """A tool's node, or a question to a person: the call of the last attempt."""

    @property
    def ended(self) -> bool:
        return self.status in ("completed", "failed", "skipped")

    def calls(self) -> Iterator[CallState]:
        if self.agent is not None:
            yield from self.agent.calls()
        if self.call is not None:
            yield self.call

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "NodeState":
        agent, call = stored["agent"], stored["call"]
        fields: dict[str, Any] = {
            **stored,
            "agent": agent_state(agent) if agent else None,
            "call": call_state(call) if call else None,
        }
        return cls(**fields)

    def as_json(self) -> dict[str, Any]:
        """The result of a node that has ended. Its tool calls are left out, because they are in the ledger."""
        if self.ended:
            return asdict(NodeState(self.status, self.output, self.error, self.reason, self.attempts))
        return asdict(self)


@dataclass(slots=True)
class WorkflowCheckpoint(RunCheckpoint):
    """The whole run: its nodes by path (an item of a Map is `map/0`), and what its model calls used."""

    nodes: dict[str, NodeState] = field(default_factory=dict[str, NodeState])

    def node(self, path: str) -> NodeState:
        return self.nodes.setdefault(path, NodeState())

    @property
    def text(self) -> str:
        """A graph has no text before its end."""
        return ""

    def calls(self) -> Iterator[CallState]:
        for node in self.nodes.values():
            if not node.ended:
                yield from node.calls()

    def nodes_json(self, paths: Sequence[str]) -> Sequence[tuple[str, Mapping[str, Any]]]:
        return [(path, self.nodes[path].as_json()) for path in dict.fromkeys(paths)]
