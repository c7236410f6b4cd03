"""The common fields of all nodes, and the interface of a node type. Pure."""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from stoa.kernel.node_groups import NodeGroup
from stoa.memory import MemoryAddition
from stoa.runs.agent.steps import Step
from stoa.runs.workflow import templates
from stoa.runs.workflow.task import Task

Operator = Literal[
    "or",
    "and",
    "boolean-equals",
    "boolean-equals-path",
    "numeric-equals",
    "numeric-equals-path",
    "numeric-greater-than",
    "numeric-greater-than-path",
    "numeric-greater-than-or-equals",
    "numeric-greater-than-or-equals-path",
    "numeric-less-than",
    "numeric-less-than-path",
    "numeric-less-than-or-equals",
    "numeric-less-than-or-equals-path",
    "string-equals",
    "string-equals-path",
    "string-greater-than",
    "string-greater-than-path",
    "string-greater-than-or-equals",
    "string-greater-than-or-equals-path",
    "string-less-than",
    "string-less-than-path",
    "string-less-than-or-equals",
    "string-less-than-or-equals-path",
    "string-starts-with",
    "string-ends-with",
    "string-contains",
    "string-regexp",
]


class NodePart(BaseModel):
    """A part of a flow. The platform's clients send more fields than Stoa reads; they are kept in the flow's text."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Condition(NodePart):
    """`variable` is a JSONPath into what is judged; `operands` of `and` and `or` are judged on what it finds."""

    variable: Annotated[str, Field(max_length=1_000)] | None = None
    operator: Operator
    value: Any = None
    is_not: bool = False
    operands: Annotated[Sequence["Condition"], Field(max_length=64)] = ()


class Depends(NodePart):
    """`option` is an option of a Choice; `trigger: failure` makes the edge that is taken when the node failed."""

    node: Annotated[str, Field(min_length=1, max_length=200)]
    option: Annotated[str, Field(max_length=200)] | None = None
    condition: Condition | None = None
    trigger: Literal["success", "failure"] = "success"


class Transformer(NodePart):
    """`path` chooses a part by JSONPath, then `selector` makes the fields: each a JSONPath, or a value as it stands."""

    path: Annotated[str, Field(max_length=1_000)] | None = None
    selector: Annotated[Mapping[str, Any], Field(max_length=500)] | None = None


class ErrorHandling(NodePart):
    """`behavior: return` lets the nodes that depend on a failed one go on."""

    timeout_seconds: Annotated[float, Field(gt=0, le=24 * 3600)] | None = None
    retry_interval_seconds: Annotated[float, Field(ge=0, le=3600)] = 1
    max_retries: Annotated[int, Field(ge=0, le=20)] = 0
    backoff_rate: Annotated[float, Field(ge=1, le=10)] = 1
    behavior: Literal["raise", "return"] = "raise"


class Approval(NodePart):
    """Whether a person is asked before each call."""

    enabled: bool = False


class Node(NodePart):
    id: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^/]*$")]
    name: Annotated[str, Field(max_length=200)] | None = None
    type: Annotated[str, Field(min_length=1, max_length=200)]
    depends: Annotated[Sequence[Depends], Field(max_length=500)] = ()
    input_transformer: Transformer | None = None
    output_transformer: Transformer | None = None
    error_handling: ErrorHandling | None = None
    approval: Approval | None = None
    input_mapping: Mapping[str, Any] = {}

    @property
    def title(self) -> str:
        return self.name or self.id

    @property
    def costly(self) -> bool:
        """Whether its decision may take long."""
        return False

    def problems(self) -> Iterator[tuple[str, str]]:
        """Problems that the schema cannot express: (field, reason)."""
        if self.input_mapping:
            yield "input_mapping", "is not read here: write it as an input_transformer"
        if self.asks_approval and not self.may_ask_first:
            yield "approval", "is asked before calls of tools alone: put a HumanFeedbackTool before this node"

    @property
    def asks_approval(self) -> bool:
        return self.approval is not None and self.approval.enabled

    @property
    def may_ask_first(self) -> bool:
        return False

    def advice(self) -> Iterator[str]:
        """Warnings about a valid node that is probably not what its author meant."""
        yield from ()

    def needs(self) -> "Needs":
        """What the node uses of the project."""
        return Needs()


@dataclass(frozen=True, slots=True)
class CodeTool:
    """A tool that is Python code in the flow. `spread`: its function takes the fields as arguments. `whole`: a node
    uses the complete result, an agent only its readable text."""

    name: str
    description: str
    code: str
    spread: bool = False
    whole: bool = False
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Needs:
    """What a node uses: its model (None: it has none; empty: the default one), tools, knowledge bases, an agent's
    memories and skills, and code that runs in a sandbox."""

    model: Sequence[str] | None = None
    """Slugs, of which the first that the catalogue has is used."""
    tools: Sequence[str] = ()
    bases: Sequence[UUID] = ()
    references: Sequence[tuple[str, UUID]] = ()
    """(kind, id) of memories, memory stores and skills."""
    code: Sequence[CodeTool] = ()


@dataclass(frozen=True, slots=True)
class Inputs:
    """A node's input. `values` is all that a path or a template may name; `own` is the result of its transformer, or
    without one the fields of the run's input."""

    values: Mapping[str, Any]
    own: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Produced:
    """The last step of a node: its output, before the transformer, and what a memory must store."""

    output: Any
    remember: MemoryAddition | None = None


class NodeFailed(Exception):
    """A node has no output: an outcome, with a stable `code` and a sentence."""

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code, self.message, self.retryable = code, message, retryable

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message}


def fill(text: str, fields: Mapping[str, Any]) -> str:
    """Fills in a template. Raises NodeFailed."""
    try:
        return templates.filled(text, fields)
    except templates.TemplateError as error:
        raise NodeFailed("input_invalid", f"a text of it {error}") from error


Decide: TypeAlias = Callable[[Any, Inputs], Any]
"""(node, inputs) → output, without I/O. Raises NodeFailed."""
Work: TypeAlias = Callable[[Any, Inputs, Task], AsyncGenerator[Step | Produced]]
"""(node, inputs, task) → steps, with `Produced` as the last one. If it ends without `Produced`, the node waits for a
person. Raises NodeFailed, ModelError, RunStopped, AppError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeType:
    """A row of the registry. A node either decides (pure) or works (in steps). `refused`: why nodes of a known type are
    not supported."""

    name: str
    """The value of a node's `type`."""
    group: NodeGroup
    description: str
    schema: type[Node]
    decide: Decide | None = None
    work: Work | None = None
    refused: str | None = None
    sandboxed: bool = False
    """Whether it needs a sandbox that the operator has configured."""
    tool_only: bool = False
    """Whether it may only be one of an agent's tools."""

    @property
    def title(self) -> str:
        return self.name.rsplit(".", 1)[-1]
