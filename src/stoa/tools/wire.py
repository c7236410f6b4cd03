"""The JSON shapes of tools."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from stoa.http import Timestamp, Wire
from stoa.http.wire import not_blank
from stoa.tools.types import Definition, NewTool, ToolKind

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Words = Annotated[str, Field(max_length=4_000), AfterValidator(not_blank)]
Values = Annotated[dict[Annotated[str, Field(max_length=100)], Annotated[str, Field(max_length=4_000)]], Field(max_length=50)]


def _no_parameters() -> dict[str, Any]:
    return {"type": "object", "properties": {}}


class HttpConfig(Wire):
    """`url` may hold `{argument}`s; other arguments go into the query (GET, DELETE) or the JSON body. Values of `headers` and
    `query` may hold `{{secret.name}}`. `parameters` is the JSON schema of the arguments."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    url: Annotated[str, Field(max_length=2_000), AfterValidator(not_blank)]
    headers: Values = Field(default_factory=dict)
    query: Values = Field(default_factory=dict)
    parameters: dict[str, Any] = Field(default_factory=_no_parameters)


class PythonConfig(Wire):
    """`entry_point` is a name in the entry point group `stoa.tools` of a package that the operator has installed."""

    entry_point: Name


class ToolFields(Wire):
    """`idempotent`: a call that may have happened when a server died may be made again with the same Idempotency-Key; otherwise a
    person is asked. `approval`: a person is asked before each call, and may change `editable_params`. `secrets` are write-only."""

    name: Name
    description: Words
    secrets: Values | None = None
    idempotent: bool = False
    approval: bool = False
    editable_params: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=64)] = Field(default_factory=list)
    timeout_seconds: Annotated[float, Field(ge=0.1, le=600)] = 30.0
    output_bytes_max: Annotated[int, Field(ge=1, le=4 * 1024 * 1024)] = 64 * 1024


class HttpToolBody(ToolFields):
    type: Literal["http"]
    config: HttpConfig


class PythonToolBody(ToolFields):
    type: Literal["python"]
    config: PythonConfig


ToolBody = Annotated[HttpToolBody | PythonToolBody, Field(discriminator="type")]


class ToolWire(Wire):
    """`secret_names` is all that is shown of the secrets."""

    id: UUID
    project_id: UUID
    name: str
    type: Literal["http", "python"]
    description: str
    config: dict[str, Any]
    secret_names: Sequence[str]
    idempotent: bool
    approval: bool
    editable_params: Sequence[str]
    timeout_seconds: float
    output_bytes_max: int
    created_at: Timestamp
    updated_at: Timestamp


def new(body: HttpToolBody | PythonToolBody) -> NewTool:
    return NewTool(
        body.name, ToolKind(body.type), body.description, body.config.model_dump(mode="json"), body.secrets, body.idempotent, body.approval,
        body.editable_params, body.timeout_seconds, body.output_bytes_max,
    )  # fmt: skip


def tool(value: Definition) -> ToolWire:
    return ToolWire.model_construct(
        id=value.id, project_id=value.project_id, name=value.name, type=value.type.value, description=value.description, config=dict(value.config),
        secret_names=value.secret_names, idempotent=value.idempotent, approval=value.approval, editable_params=value.editable_params,
        timeout_seconds=value.timeout_seconds, output_bytes_max=value.output_bytes_max, created_at=value.created_at, updated_at=value.updated_at,
    )  # fmt: skip
