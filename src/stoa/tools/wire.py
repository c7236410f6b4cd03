"""The JSON shapes of tools."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from stoa.http import Body, Timestamp, Wire
from stoa.http.wire import not_blank, storable
from stoa.kernel.errors import BadRequest
from stoa.outbound.certificates import CaBundle
from stoa.tools import rules
from stoa.tools.types import Called, Definition, Imported, ImportRequest, NewTool, Offer, ToolKind

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Words = Annotated[str, Field(max_length=4_000), AfterValidator(not_blank)]
Address = Annotated[str, Field(max_length=2_000), AfterValidator(not_blank)]
Values = Annotated[
    dict[Annotated[str, Field(max_length=100)], Annotated[str, Field(max_length=4_000), AfterValidator(storable)]],
    Field(max_length=50),
]
DOCUMENT_CHARACTERS_MAX = 8_000_000


def _no_parameters() -> dict[str, Any]:
    return {"type": "object", "properties": {}}


class Place(Body):
    """Where an argument of an HTTP tool goes, where it is not the usual place. `name` is what the service calls it;
    `encoding` says how a list or an object is written into a query or a header: `repeat` (a=1&a=2), `comma`, `space`,
    `pipe`, `deep` (a[key]=1), `json`; of a body, `json` (usual), `form` or `text`."""

    in_: Annotated[Literal["path", "query", "header", "body"], Field(alias="in")]
    name: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(storable)] | None = None
    encoding: Literal["repeat", "comma", "space", "pipe", "deep", "json", "form", "text"] | None = None


class HttpConfig(Body):
    """`url` may hold `{argument}`s; other arguments go into the query (GET, DELETE) or the JSON body, unless `places`
    says otherwise. Values of `headers` and `query` may hold `{{secret.name}}`. `parameters` is the JSON schema of the
    arguments. `ca_bundle`: certificate authorities (PEM) that the service's certificate may be signed by, beside the
    system's."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    url: Address
    headers: Values = Field(default_factory=dict)
    query: Values = Field(default_factory=dict)
    parameters: dict[str, Any] = Field(default_factory=_no_parameters)
    places: Annotated[dict[Name, Place], Field(max_length=100)] | None = None
    ca_bundle: CaBundle | None = None


class PythonConfig(Body):
    """`entry_point` is a name in the entry point group `stoa.tools` of a package that the operator has installed."""

    entry_point: Name


class McpConfig(Body):
    """An MCP server: `url` of one over streamable HTTP (its `headers` may hold `{{secret.name}}`), or `server`, the
    name of one that this server's operator has declared in stoa.toml. `tools` are the only ones of its tools that are
    offered, by the server's own names. `ca_bundle`: certificate authorities (PEM) for `url`, beside the system's."""

    url: Address | None = None
    server: Name | None = None
    headers: Values | None = None
    tools: (
        Annotated[list[Annotated[str, Field(max_length=200), AfterValidator(not_blank)]], Field(max_length=256)] | None
    ) = None
    ca_bundle: CaBundle | None = None


class ToolFields(Body):
    """`idempotent`: a call that may have happened when a server died may be made again with the same Idempotency-Key;
    otherwise a person is asked. `approval`: a person is asked before each call, and may change `editable_params`.
    `secrets` are write-only."""

    name: Name
    description: Words
    secrets: Values | None = None
    approval: bool = False
    editable_params: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=64)] = Field(
        default_factory=list
    )
    timeout_seconds: Annotated[float, Field(ge=0.1, le=600)] = 30.0
    output_bytes_max: Annotated[int, Field(ge=1, le=4 * 1024 * 1024)] = 64 * 1024


class HttpToolBody(ToolFields):
    example: ClassVar[Mapping[str, Any]] = {
        "name": "weather",
        "type": "http",
        "description": "The weather of a city.",
        "config": {"url": "https://example.com/weather/{city}"},
    }

    type: Literal["http"]
    config: HttpConfig
    idempotent: bool = False


class PythonToolBody(ToolFields):
    example: ClassVar[Mapping[str, Any]] = {
        "name": "sum",
        "type": "python",
        "description": "Adds numbers.",
        "config": {"entry_point": "sum"},
    }

    type: Literal["python"]
    config: PythonConfig
    idempotent: bool = False


class McpToolBody(ToolFields):
    """`idempotent` holds for every tool of the server; left out, the server's annotations count where they promise
    enough."""

    example: ClassVar[Mapping[str, Any]] = {
        "name": "docs",
        "type": "mcp",
        "description": "Our documents.",
        "config": {"url": "https://example.com/mcp"},
    }

    type: Literal["mcp"]
    config: McpConfig
    idempotent: bool | None = None


ToolBody = Annotated[HttpToolBody | PythonToolBody | McpToolBody, Field(discriminator="type")]
_BODY: TypeAdapter[HttpToolBody | PythonToolBody | McpToolBody] = TypeAdapter(ToolBody)


class ToolPatch(Body):
    """What changes; `config` is replaced as a whole. `secrets` replace those that are there; left out, they stay."""

    example: ClassVar[Mapping[str, Any]] = {"approval": True}

    name: Name | None = None
    description: Words | None = None
    config: dict[str, Any] | None = None
    secrets: Values | None = None
    idempotent: bool | None = None
    approval: bool | None = None
    editable_params: list[str] | None = None
    timeout_seconds: float | None = None
    output_bytes_max: int | None = None


class OfferWire(Wire):
    """A tool of an MCP server: `name` is what an agent and its model call it, `tool` the server's own name."""

    name: str
    tool: str
    description: str
    parameters: dict[str, Any]
    idempotent: bool
    read_only: bool | None
    destructive: bool | None


class ToolWire(Wire):
    """`secret_names` is all that is shown of the secrets. Of an MCP server, `offers` is what it offered at `listed_at`,
    and `problem` says why it could not be asked since."""

    id: UUID
    project_id: UUID
    name: str
    type: Literal["http", "python", "mcp"]
    description: str
    config: dict[str, Any]
    secret_names: Sequence[str]
    idempotent: bool | None
    approval: bool
    editable_params: Sequence[str]
    timeout_seconds: float
    output_bytes_max: int
    created_at: Timestamp
    updated_at: Timestamp
    offers: Sequence[OfferWire] | None
    listed_at: Timestamp | None
    problem: str | None


class TestBody(Body):
    """`tool`: which of an MCP server's, by either of its names."""

    example: ClassVar[Mapping[str, Any]] = {"arguments": {"city": "Oslo"}}

    arguments: dict[str, Any] = Field(default_factory=dict)
    tool: Annotated[str, Field(max_length=200), AfterValidator(not_blank)] | None = None


class CallErrorWire(Wire):
    code: str
    message: str


class TestWire(Wire):
    """What a model would receive: a `result`, or an `error`."""

    result: str | None
    error: CallErrorWire | None
    milliseconds: int


class ImportBody(Body):
    """An OpenAPI 3.0 or 3.1 document: `document` (the object itself, or JSON or YAML as text) or a `url` of one.
    `operations` are the only ones to import, by operationId or as `GET /pets/{id}`. `base_url` stands in for the
    document's servers. `headers`, `query`, `secrets`, `ca_bundle` and the rest are given to every tool that is
    made; a secret that has the name of one of the document's security schemes is sent as that scheme says. `prefix`
    leads the names. `replace` redefines tools of the same names instead of refusing."""

    example: ClassVar[Mapping[str, Any]] = {"url": "https://example.com/openapi.json", "prefix": "shop_"}

    document: (
        dict[str, Any] | Annotated[str, Field(max_length=DOCUMENT_CHARACTERS_MAX), AfterValidator(not_blank)] | None
    ) = None
    url: Address | None = None
    operations: (
        Annotated[list[Annotated[str, Field(max_length=1_000), AfterValidator(not_blank)]], Field(max_length=3_000)]
        | None
    ) = None
    base_url: Address | None = None
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,30}$")] = ""
    headers: Values = Field(default_factory=dict)
    query: Values = Field(default_factory=dict)
    secrets: Values = Field(default_factory=dict)
    ca_bundle: CaBundle | None = None
    approval: bool = False
    timeout_seconds: Annotated[float, Field(ge=0.1, le=600)] = 30.0
    output_bytes_max: Annotated[int, Field(ge=1, le=4 * 1024 * 1024)] = 64 * 1024
    replace: bool = False


class PlannedWire(Wire):
    """A tool as it would be made, or was (then with its `id`)."""

    id: UUID | None
    name: str
    operation: str
    description: str
    config: dict[str, Any]
    idempotent: bool
    notes: Sequence[str]


class SkippedWire(Wire):
    operation: str
    reason: str


class ImportWire(Wire):
    tools: Sequence[PlannedWire]
    skipped: Sequence[SkippedWire]


# --- in -------------------------------------------------------------------------------------------------------------
def new(body: HttpToolBody | PythonToolBody | McpToolBody) -> NewTool:
    return NewTool(
        body.name,
        ToolKind(body.type),
        body.description,
        body.config.model_dump(mode="json", by_alias=True, exclude_none=True),
        body.secrets,
        body.idempotent,
        body.approval,
        body.editable_params,
        body.timeout_seconds,
        body.output_bytes_max,
    )


def patched(value: Definition, patch: ToolPatch) -> NewTool:
    """The definition with what the patch sets. Raises BadRequest naming every bad field."""
    held = {
        "name": value.name,
        "type": value.type.value,
        "description": value.description,
        "config": value.config,
        "idempotent": value.idempotent,
        "approval": value.approval,
        "editable_params": list(value.editable_params),
        "timeout_seconds": value.timeout_seconds,
        "output_bytes_max": value.output_bytes_max,
    }
    changes = patch.model_dump(exclude_unset=True)
    if value.type is not ToolKind.MCP and changes.get("idempotent", False) is None:
        del changes["idempotent"]
    try:
        return new(_BODY.validate_python({**held, **changes}))
    except ValidationError as error:
        details = {".".join(str(part) for part in problem["loc"][1:]): problem["msg"] for problem in error.errors()}
        path, reason = next(iter(details.items()))
        raise BadRequest(f"{path}: {reason}", details=details) from error


def import_request(body: ImportBody) -> ImportRequest:
    if (body.document is None) == (body.url is None):
        raise BadRequest(
            "Send either document or url.", details={"document": "either this or url", "url": "either this or document"}
        )
    return ImportRequest(
        body.document,
        body.url,
        body.operations,
        body.base_url,
        body.prefix,
        body.headers,
        body.query,
        body.secrets,
        body.ca_bundle,
        body.approval,
        body.timeout_seconds,
        body.output_bytes_max,
        body.replace,
    )


# --- out ------------------------------------------------------------------------------------------------------------
def tool(value: Definition) -> ToolWire:
    return ToolWire.model_construct(
        id=value.id,
        project_id=value.project_id,
        name=value.name,
        type=value.type.value,
        description=value.description,
        config=dict(value.config),
        secret_names=value.secret_names,
        idempotent=value.idempotent,
        approval=value.approval,
        editable_params=value.editable_params,
        timeout_seconds=value.timeout_seconds,
        output_bytes_max=value.output_bytes_max,
        created_at=value.created_at,
        updated_at=value.updated_at,
        offers=[_offer(value, offer) for offer in value.offers] if value.offers is not None else None,
        listed_at=value.listed_at,
        problem=value.problem,
    )


def _offer(server: Definition, value: Offer) -> OfferWire:
    return OfferWire.model_construct(
        name=rules.offered_name(server.name, value.name),
        tool=value.name,
        description=value.description,
        parameters=dict(value.parameters),
        idempotent=rules.repeatable(value, server.idempotent),
        read_only=value.read_only,
        destructive=value.destructive,
    )


def called(value: Called) -> TestWire:
    failed = value.result.code
    return TestWire(
        result=None if failed else value.result.text,
        error=CallErrorWire(code=failed, message=value.result.text) if failed else None,
        milliseconds=round(value.seconds * 1000),
    )


def imported(value: Imported) -> ImportWire:
    tools = [
        PlannedWire(
            id=one.id,
            name=one.new.name,
            operation=one.operation,
            description=one.new.description,
            config=dict(one.new.config),
            idempotent=bool(one.new.idempotent),
            notes=one.notes,
        )
        for one in value.tools
    ]
    return ImportWire(
        tools=tools, skipped=[SkippedWire(operation=operation, reason=reason) for operation, reason in value.skipped]
    )
