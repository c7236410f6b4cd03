"""The objects of the API: those of responses (records), and nested objects of requests (typed dictionaries).

Times are RFC 3339 strings in UTC, as the server writes them. A test compares every field with the server's OpenAPI
document.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, NotRequired, TypeAlias, TypedDict, TypeVar

from stoa_client.records import Record

T = TypeVar("T")


# --- responses ------------------------------------------------------------------------------------------------------
class Usage(Record):
    """The sum over all calls of the model. `estimated` is true if a provider sent no counts; `cost_usd` is set if the
    price is known."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int | None
    reasoning_tokens: int | None
    estimated: bool | None
    cost_usd: float | None
    finish_reason: str | None


class ErrorDetail(Record):
    code: str
    message: str


class RunErrorDetail(Record):
    code: str
    message: str
    retryable: bool


class Pagination(Record):
    page: int
    page_size: int
    page_count: int
    total_count: int
    total_count_estimated: bool | None
    next_cursor: str | None


class ModelPrice(Record):
    """US dollars per million tokens."""

    prompt: float
    completion: float
    cached: float | None
    cache_write: float | None
    source: str | None
    as_of: str | None


class Model(Record):
    id: str
    slug: str
    name: str
    provider: str
    default: bool
    context_tokens: int
    output_tokens: int | None
    capabilities: list[str]
    source: str | None
    as_of: str | None
    price: ModelPrice | None


class ConversationModel(Record):
    id: str
    name: str
    slug: str
    provider: str


class Origin(Record):
    """The origin of a fork, until the origin is deleted."""

    conversation_id: str
    message_id: str | None


class ConversationApp(Record):
    id: str
    name: str
    description: str | None


class Conversation(Record):
    id: str
    title: str | None
    app_id: str | None
    app: ConversationApp | None
    session_id: str | None
    model_id: str | None
    model: ConversationModel | None
    user_id: str | None
    org_id: str
    project_id: str
    metadata: Mapping[str, Any] | None
    agent: Mapping[str, Any] | None
    active_run_id: str | None
    message_count: int
    forked_from: Origin | None
    usage: Usage | None
    pinned_at: str | None
    created_at: str
    updated_at: str


class Message(Record):
    id: str
    conversation_id: str
    role: Literal["user", "assistant"]
    content: list[Mapping[str, Any]]
    status: Literal["completed", "failed", "canceled"]
    finish_reason: str | None
    run_id: str | None
    usage: Usage | None
    metadata: Mapping[str, Any] | None
    superseded: bool | None
    created_at: str

    @property
    def text(self) -> str:
        """The text parts of the content, joined."""
        return "".join(str(part["text"]) for part in self.content if part.get("type") == "text")


class File(Record):
    id: str
    name: str
    size: int
    mime_type: str
    conversation_id: str
    status: Literal["pending", "ready", "failed"]
    pages: int | None
    warnings: list[str] | None
    error: ErrorDetail | None
    sha256: str
    created_at: str


class Deleted(Record):
    """Read the receipt with `conversations.receipt(deletion_id)`."""

    message: str
    deletion_id: str


class Store(Record):
    rows: int
    bytes: int
    anonymized: bool | None


class Retained(Record):
    messages: int
    files: int
    conversations: list[str]


class Deletion(Record):
    """A receipt. `verified_at` is set when a re-scan has found nothing left."""

    id: str
    kind: str
    subject_id: str
    stores: dict[str, Store]
    retained: Retained | None
    created_at: str
    verified_at: str | None
    scrubbed_at: str | None


class Queued(Record):
    run_id: str
    position: int
    content: list[Mapping[str, Any]]
    metadata: Mapping[str, Any] | None
    created_at: str


class InputRequest(Record):
    id: str
    type: Literal["human_feedback", "approval_request"]
    prompt: str
    params: Mapping[str, Any]
    editable_params: list[str]
    options: list[str] | None
    expires_at: str


class Run(Record):
    id: str
    app_id: str | None
    conversation_id: str
    message_id: str
    model_id: str | None
    status: Literal["created", "started", "paused", "completed", "failed", "canceled"]
    created_at: str
    started_at: str | None
    ended_at: str | None
    input: Mapping[str, Any]
    output: str | None
    result: Any
    finish_reason: str | None
    error: RunErrorDetail | None
    usage: Usage | None
    user_id: str | None
    session_id: str | None
    attempt: int
    input_requests: list[InputRequest]


class ToolCall(Record):
    id: str
    name: str
    type: str
    input: Mapping[str, Any]
    status: Literal["begun", "completed", "failed", "unknown"]
    times: int
    result: str | None
    error: Mapping[str, Any] | None
    begun_at: str
    settled_at: str | None


class CallbackAttempt(Record):
    """One POST. Without `ended_at` it is running, or its server died and it is not known whether it arrived."""

    number: int
    begun_at: str
    ended_at: str | None
    status_code: int | None
    error: Mapping[str, Any] | None


class Callback(Record):
    """`webhook_id` is the header of that name, the same for every attempt and replay."""

    id: str
    run_id: str
    webhook_id: str
    url: str
    status: Literal["waiting", "pending", "running", "delivered", "failed"]
    metadata: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    next_attempt_at: str | None
    created_at: str
    ended_at: str | None
    attempts: list[CallbackAttempt]


class Chunk(Record):
    """`position` in the item starts at 0, `page` at 1. Search hits have the same `id`."""

    id: str
    position: int
    page: int | None
    heading: str | None
    content: str


class Embedder(Record):
    provider: str
    model: str
    dimensions: int
    connection_id: str | None


class Chunking(Record):
    characters_max: int
    tokens_max: int | None


class Reranker(Record):
    provider: str
    connection_id: str | None
    model: str | None


class Retriever(Record):
    mode: str
    alpha: float
    top_k: int
    reranker: Reranker | None


class Reindex(Record):
    embedder: Embedder
    chunking: Chunking
    language: str
    items: int
    items_done: int
    items_failed: int


class KnowledgeBase(Record):
    id: str
    name: str
    description: str | None
    project_id: str
    hostname: str
    url: str
    embedder: Embedder
    chunking: Chunking
    retriever: Retriever
    language: str
    ocr: Literal["auto", "off"]
    item_count: int
    chunk_count: int
    reindex: Reindex | None
    flow: Mapping[str, Any] | None
    flow_ui: Mapping[str, Any] | None
    runtime_id: str | None
    workflow_id: str | None
    workflow_version_id: str | None
    created_at: str
    updated_at: str


class Progress(Record):
    pages: int | None
    pages_total: int | None
    chunks: int | None
    chunks_total: int | None


class Item(Record):
    id: str
    knowledgebase_id: str
    name: str
    status: Literal["pending", "processing", "processed", "failed"]
    metadata: Mapping[str, Any]
    size: int
    mime_type: str
    sha256: str
    searchable: bool
    progress: Progress | None
    warnings: list[str] | None
    error: ErrorDetail | None
    source_id: str | None
    uploaded_at: str
    processed_at: str | None


class Hit(Record):
    """`score` is between 0 and 1, comparable within one response. `snippet` is HTML with matched words in <mark>."""

    id: str
    content: str
    metadata: Mapping[str, Any]
    score: float
    snippet: str | None
    explain: Mapping[str, Any] | None


class SearchResult(Record):
    """Best first. `explain` is set if it was requested."""

    data: list[Hit]
    explain: Mapping[str, Any] | None


class Trace(Record):
    id: str
    project_id: str
    wire: Literal["sdk", "otlp", "stoa"]
    name: str
    status: Literal["succeeded", "failed", "skipped", "canceled"] | None
    start_time: str
    end_time: str | None
    duration_seconds: float | None
    source_id: str | None
    session_id: str | None
    user_id: str | None
    models: list[str]
    tags: list[str]
    run_count: int
    root_count: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: float | None
    conversation_id: str | None


class Span(Record):
    """A step of a trace."""

    id: str
    name: str
    type: str
    trace_id: str
    parent_run_id: str | None
    source_id: str | None
    session_id: str | None
    user_id: str | None
    status: str | None
    start_time: str
    end_time: str | None
    input: Any
    output: Any
    error: Any
    metadata: Mapping[str, Any] | None
    executions: list[Any] | None
    tags: list[str]
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    attributes: Mapping[str, Any] | None


class FullTrace(Record):
    id: str
    runs: list[Span]


class TraceSeconds(Record):
    """Percentiles of the durations of traces."""

    p50: float
    p90: float
    p95: float
    p99: float
    max: float


class TraceAggregate(Record):
    """The sums of one group of traces."""

    group: dict[str, str]
    traces: int
    failed: int
    running: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: float | None
    seconds: TraceSeconds | None


class TraceAggregates(Record):
    groups: list[TraceAggregate]


class ComparedStep(Record):
    id: str
    status: str | None
    duration_seconds: float | None
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None


class TraceStepPair(Record):
    """A step of both traces, or of one of them; `changed` lists the differences."""

    depth: int
    name: str
    type: str
    change: Literal["same", "changed", "removed", "added"]
    changed: list[str]
    left: ComparedStep | None
    right: ComparedStep | None


class TraceDifference(Record):
    left_id: str
    right_id: str
    steps: list[TraceStepPair]


class TraceExport(Record):
    """The destination of a project's export of runs, and its state."""

    url: str | None
    content: bool
    paused: bool
    until: str
    exported_spans: int
    refused_spans: int
    failures: int
    error: dict[str, Any] | None


class TraceSettings(Record):
    project_id: str
    retention_days: float | None
    keep_forever: bool
    export: TraceExport | None


class UsageLine(Record):
    """A sum. The fields of `group_by` are set."""

    day: str | None
    model: str | None
    key_id: str | None
    project_id: str | None
    user_id: str | None
    conversation_id: str | None
    run_id: str | None
    kind: Literal["run", "ocr"] | None
    knowledgebase_id: str | None
    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    total_tokens: int
    cost_usd: float
    estimated_calls: int
    unpriced_calls: int


class SpendingLimit(Record):
    usd: float
    period: Literal["day", "month", "total"]


class AccessKey(Record):
    id: str
    org_id: str
    project_id: str | None
    name: str
    preview: str
    permissions: list[str] | None
    expires_at: str | None
    created_by: str | None
    created_at: str
    rate_limit: int | None
    spending_limit: SpendingLimit | None
    cache_seconds: int | None
    resumable_streams: bool
    successor_id: str | None
    last_used_at: str | None


class CreatedAccessKey(AccessKey):
    """`key` is the secret. Only the first response has it; a repetition with the same Idempotency-Key does not."""

    key: str | None

    def __repr__(self) -> str:
        return f"CreatedAccessKey(id={self.id!r}, name={self.name!r}, preview={self.preview!r})"


class RevokedKey(Record):
    id: str
    name: str
    preview: str
    project_id: str | None
    created_by: str | None


class DependentTrigger(Record):
    id: str
    app_id: str
    name: str


class Revocation(Record):
    message: str
    revoked: list[RevokedKey] | None
    would_revoke: list[RevokedKey] | None
    triggers: list[DependentTrigger] | None


class Acknowledgement(Record):
    message: str


class PageOf(Generic[T]):
    """One page of a list."""

    def __init__(self, data: list[T], pagination: Pagination) -> None:
        self.data = data
        self.pagination = pagination

    def __len__(self) -> int:
        return len(self.data)

    @property
    def has_next(self) -> bool:
        return self.pagination.next_cursor is not None or self.pagination.page < self.pagination.page_count


# --- requests -------------------------------------------------------------------------------------------------------
class Limits(TypedDict, total=False):
    iterations_max: int
    tokens_max: int
    cost_usd_max: float
    subagents_max: int
    subagent_depth_max: int
    input_seconds_max: float


class Subagent(TypedDict):
    name: str
    description: str
    instructions: NotRequired[str]
    tools: NotRequired[list[str]]


class AgentMemory(TypedDict):
    """A memory of users across conversations."""

    memory_id: str
    strategy: NotRequired[Literal["all", "relevant", "both"]]
    limit: NotRequired[int]
    scope: NotRequired[Literal["session", "user"]]


class AgentMemoryStore(TypedDict):
    """The notes that the agent writes about a user."""

    id: str
    write_enabled: NotRequired[bool]


class AgentSkill(TypedDict):
    """Without `version_id` the newest version is used."""

    id: str
    version_id: NotRequired[str]


class Agent(TypedDict, total=False):
    """The instructions of the model, its tools, and its limits."""

    instructions: str
    tools: list[str]
    approvals: list[str]
    knowledge_bases: list[str]
    human_feedback: bool
    subagents: list[Subagent]
    output_schema: Mapping[str, Any]
    limits: Limits
    memory: bool | AgentMemory
    memory_store: AgentMemoryStore
    skills: list[AgentSkill]
    artifacts: bool


class FileRef(TypedDict):
    id: str
    name: NotRequired[str]


class TextPart(TypedDict):
    type: Literal["text"]
    text: str


class FilePart(TypedDict):
    type: Literal["file"]
    file: FileRef


class EmbedderInput(TypedDict):
    provider: Literal["local", "server", "connection"]
    model: str
    dimensions: NotRequired[int]
    connection_id: NotRequired[str]


class ChunkingInput(TypedDict, total=False):
    characters_max: int


class RerankerInput(TypedDict):
    provider: Literal["server", "connection"]
    connection_id: NotRequired[str]
    model: NotRequired[str]


class RetrieverInput(TypedDict, total=False):
    mode: Literal["semantic", "keyword", "hybrid"]
    alpha: float
    top_k: int
    reranker: RerankerInput


class TraceExportInput(TypedDict):
    """The complete URL of an OTLP endpoint, and its headers."""

    url: str
    headers: NotRequired[dict[str, str]]
    content: NotRequired[bool]
    paused: NotRequired[bool]


class SpendingLimitInput(TypedDict):
    usd: float
    period: Literal["day", "month", "total"]


ContentPart: TypeAlias = str | File | TextPart | FilePart
Content: TypeAlias = str | Sequence[ContentPart]
"""A text, or a list of texts, uploaded files, or parts in the API's format."""
