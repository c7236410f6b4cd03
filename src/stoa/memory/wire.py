"""The JSON shapes of memories and memory stores (contract section 6)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import orjson
from pydantic import AfterValidator, Field

from stoa.http import Body, Timestamp, Wire
from stoa.http.wire import not_blank, storable
from stoa.memory import rules
from stoa.memory.types import Cleared, Item, Memory, MemoryFile, MemoryStore, NewItem

Name = Annotated[str, Field(max_length=200), AfterValidator(not_blank)]
UserId = Annotated[str, Field(max_length=rules.USER_CHARACTERS_MAX), AfterValidator(not_blank)]
SessionId = Annotated[str, Field(max_length=rules.SESSION_CHARACTERS_MAX), AfterValidator(not_blank)]


def _path(path: str) -> str:
    if problem := rules.path_problem(path):
        raise ValueError(problem)
    return path


def _content(content: str) -> str:
    if problem := rules.content_problem(content):
        raise ValueError(problem)
    return not_blank(content)


# --- in -------------------------------------------------------------------------------------------------------------
class CreateMemory(Body):
    example: ClassVar[Mapping[str, Any]] = {"name": "support"}

    name: Name
    project_id: UUID | None = None


class MessageData(Body):
    """A message, as models' APIs have it. `content` is a list of parts: `{"type": "text", "text"}`, and others."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Annotated[list[dict[str, Any]], Field(max_length=100)]
    tool_calls: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None
    tool_call_id: Annotated[str, Field(max_length=200)] | None = None
    name: Annotated[str, Field(max_length=200)] | None = None


def _small(value: Any) -> Any:
    """What was read as JSON can be written as JSON."""
    size = len(orjson.dumps(value.model_dump() if isinstance(value, MessageData) else value))
    if size > rules.DATA_BYTES_MAX:
        raise ValueError(f"has {size} bytes as JSON; at most {rules.DATA_BYTES_MAX} are kept")
    return value


class CreateMemoryItem(Body):
    example: ClassVar[Mapping[str, Any]] = {
        "user_id": "u-1",
        "session_id": "3f0c1d7e-3a52-4a0e-9d77-0f5d0d0b6a11",
        "type": "message",
        "data": {"role": "user", "content": [{"type": "text", "text": "I prefer British English."}]},
    }

    user_id: UserId
    session_id: SessionId | None = None
    type: Literal["message"] = "message"
    data: Annotated[MessageData, AfterValidator(_small)]
    metadata: Annotated[dict[str, Any], AfterValidator(_small)] | None = None


class CreateMemoryStore(Body):
    example: ClassVar[Mapping[str, Any]] = {"name": "notes", "description": "What the assistant learns of a user."}

    name: Name
    description: Annotated[str, Field(max_length=2_000), AfterValidator(storable)] | None = None
    project_id: UUID | None = None


class UpdateMemoryStore(Body):
    """Both take the place of what was there: a description that is left out goes."""

    example: ClassVar[Mapping[str, Any]] = {"name": "notes", "description": "Preferences of users."}

    name: Name
    description: Annotated[str, Field(max_length=2_000), AfterValidator(storable)] | None = None


class WriteMemoryFile(Body):
    example: ClassVar[Mapping[str, Any]] = {
        "user_id": "u-1",
        "path": "preferences.md",
        "content": "Prefers British English.",
    }

    user_id: UserId
    path: Annotated[str, AfterValidator(_path)]
    content: Annotated[str, AfterValidator(_content)]


def new_item(body: CreateMemoryItem) -> NewItem:
    return NewItem(body.user_id, body.session_id, body.data.model_dump(exclude_none=True), body.metadata)


# --- out ------------------------------------------------------------------------------------------------------------
class MemoryWire(Wire):
    id: UUID
    name: str
    project_id: UUID
    created_by: UUID | None
    created_at: Timestamp
    updated_at: Timestamp


class MemoryItemWire(Wire):
    """`run_id`: of the run that remembered it, with which it is deleted."""

    id: UUID
    memory_id: UUID
    user_id: str
    session_id: str | None
    type: str
    data: Mapping[str, Any]
    metadata: Mapping[str, Any] | None
    run_id: UUID | None
    created_at: Timestamp
    updated_at: Timestamp


class ClearedWire(Wire):
    """`deletion_id` names the receipt, at /v1/deletions/{deletion_id}; there is none where nothing was deleted."""

    message: Literal["deleted"]
    deleted_count: int
    deletion_id: UUID | None


class MemoryStoreWire(Wire):
    id: UUID
    name: str
    description: str | None
    project_id: UUID
    created_by: UUID | None
    created_at: Timestamp
    updated_at: Timestamp


class MemoryFileWire(Wire):
    """`size` counts characters. Lists leave the content out."""

    path: str
    size: int
    created_at: Timestamp
    updated_at: Timestamp
    content: str | None


def memory(value: Memory) -> MemoryWire:
    return MemoryWire(
        id=value.id,
        name=value.name,
        project_id=value.project_id,
        created_by=value.created_by,
        created_at=value.created_at,
        updated_at=value.updated_at,
    )


def item(value: Item) -> MemoryItemWire:
    return MemoryItemWire(
        id=value.id,
        memory_id=value.memory_id,
        user_id=value.user_id,
        session_id=value.session_id,
        type=value.type,
        data=value.data,
        metadata=value.metadata,
        run_id=value.run_id,
        created_at=value.created_at,
        updated_at=value.updated_at,
    )


def cleared(value: Cleared) -> ClearedWire:
    return ClearedWire(message="deleted", deleted_count=value.items, deletion_id=value.deletion_id)


def memory_store(value: MemoryStore) -> MemoryStoreWire:
    return MemoryStoreWire(
        id=value.id,
        name=value.name,
        description=value.description,
        project_id=value.project_id,
        created_by=value.created_by,
        created_at=value.created_at,
        updated_at=value.updated_at,
    )


def file(value: MemoryFile) -> MemoryFileWire:
    return MemoryFileWire(
        path=value.path,
        size=value.size,
        created_at=value.created_at,
        updated_at=value.updated_at,
        content=value.content,
    )


def files(values: Sequence[MemoryFile]) -> list[MemoryFileWire]:
    return [file(value) for value in values]
