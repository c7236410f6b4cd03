"""What every node of a flow has, and what a type of nodes is. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Operator = Literal[
    "or",
    "and",
    "boolean-equals",
    "numeric-equals",
    "numeric-greater-than",
    "numeric-greater-than-or-equals",
    "numeric-less-than",
    "numeric-less-than-or-equals",
    "string-equals",
    "string-greater-than",
    "string-greater-than-or-equals",
    "string-less-than",
    "string-less-than-or-equals",
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


class Node(NodePart):
    id: Annotated[str, Field(min_length=1, max_length=200)]
    name: Annotated[str, Field(max_length=200)] | None = None
    type: Annotated[str, Field(min_length=1, max_length=200)]
    depends: Annotated[Sequence[Depends], Field(max_length=500)] = ()
    input_transformer: Transformer | None = None
    output_transformer: Transformer | None = None
    error_handling: ErrorHandling | None = None

    @property
    def title(self) -> str:
        return self.name or self.id


NodeSchema: TypeAlias = type[Node]


@dataclass(frozen=True, slots=True)
class NodeType:
    """A line of the registry. `refused` says why nodes of a known type are not run."""

    type: str
    group: Literal["utils", "agents", "llms", "tools", "retrievers", "operators"]
    name: str
    description: str
    schema: NodeSchema
    refused: str | None = None
    provider: str | None = None
    """Of an LLM: what leads the slugs of its models in the catalogue."""
