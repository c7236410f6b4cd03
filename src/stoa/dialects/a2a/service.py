"""A2A's methods over runs: a task is a run, a context a conversation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from stoa.dialects.a2a.shapes import Words
from stoa.dialects.a2a.translator import A2aTranslator, encode
from stoa.dialects.responses.inputs import Asked, read_input
from stoa.dialects.starting import Attachment, Beginning, Order, once_for
from stoa.events import decode
from stoa.journal import Record
from stoa.kernel.errors import BadRequest, NotFound
from stoa.kernel.principal import Principal
from stoa.runs import Input, RequestType, Run, RunStatus
from stoa.streams import Follower, Streams

DIALECT: Final = "a2a"
_NO: Final = frozenset({"no", "deny", "denied", "reject", "rejected", "decline", "declined", "false", "cancel"})


class TaskNotFound(NotFound):
    """There is no such task, or it is another agent's."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a client sends."""

    items: Sequence[Mapping[str, Any]]
    uploads: Sequence[Attachment]
    text: str
    id: str
    context: UUID | None
    task: UUID | None


class Tasks:
    def __init__(self, beginning: Beginning, streams: Streams) -> None:
        self._beginning = beginning
        self._runs = beginning.runs
        self._streams = streams

    async def send(self, principal: Principal, agent: str, message: Message) -> Run:
        """The run that the message begins, or that waits for it. Raises AppError."""
        if message.task is not None:
            return await self._answer(principal, agent, message, message.task)
        app_id, slug = _agent(agent)
        order = Order(
            slug if app_id is None else None,
            message.items,
            {"dialect": DIALECT, "agent": agent},
            message.uploads,
            message.context,
            app_id,
        )
        once = once_for(DIALECT, agent, str(message.context or ""), message.id) if message.id else None
        return await self._beginning.start(principal, order, once)

    async def _answer(self, principal: Principal, agent: str, message: Message, task: UUID) -> Run:
        """A message to a task answers the question that it waits for."""
        run = await self.get(principal, agent, task)
        asked = (await self._runs.requests(principal, [run.id])).get(run.id, ())
        if not asked:
            raise BadRequest.field("message.taskId", f"names a task that takes no message: it is {run.status.value}")
        request = asked[0]
        if request.type is RequestType.HUMAN_FEEDBACK:
            given = Input(request.type, request.id, feedback=message.text)
        else:
            word = message.text.strip().strip(".!").lower()
            given = Input(request.type, request.id, approved=word not in _NO, feedback=message.text)
        await self._runs.answer(principal, run.id, given)
        return run

    async def get(self, principal: Principal, agent: str, task: UUID) -> Run:
        """Raises TaskNotFound."""
        try:
            run = await self._runs.get(principal, task)
        except NotFound:
            raise TaskNotFound(f"There is no task {task}.") from None
        if (run.options.get("wanted") or {}).get("agent") != agent:
            raise TaskNotFound(f"There is no task {task}.")
        return run

    async def shown(self, principal: Principal, run: Run, words: Words) -> dict[str, Any]:
        translator = _translator(run, words)
        async for records in self._streams.records(principal, run.id):
            translator.take([decode(record.type, record.payload) for record in records])
        return translator.task()

    async def ended(self, principal: Principal, run: Run, words: Words) -> dict[str, Any]:
        """Once it has ended, or waits for a message."""
        return await self.shown(principal, await self._runs.ended(principal, run.id), words)

    async def cancel(self, principal: Principal, run: Run, words: Words) -> dict[str, Any]:
        await self._runs.cancel(principal, run.id)
        return await self.shown(principal, run, words)

    def frames(self, principal: Principal, run: Run, words: Words, request_id: Any) -> Follower:
        """Every update from the first on, then live."""
        translator = _translator(run, words)

        def translate(records: Sequence[Record]) -> bytes:
            return encode(translator.take([decode(record.type, record.payload) for record in records]), request_id)

        return self._streams.translated(principal, run.id, translate)


def _translator(run: Run, words: Words) -> A2aTranslator:
    return A2aTranslator(words, str(run.id), str(run.conversation_id))


def ended(run: Run) -> bool:
    return run.status not in (RunStatus.CREATED, RunStatus.STARTED, RunStatus.PAUSED)


def _agent(agent: str) -> tuple[UUID | None, str | None]:
    try:
        return UUID(agent), None
    except ValueError:
        return None, agent


def message_of(params: Mapping[str, Any]) -> Message:
    """Raises BadRequest naming the field."""
    given = params.get("message")
    if not isinstance(given, dict):
        raise BadRequest.field("message", "is required: an object")
    parts = given.get("parts") or given.get("content")
    if not isinstance(parts, list) or not parts:
        raise BadRequest.field("message.parts", "must be a list of at least one part")
    asked = Asked("", [], {}, {})
    content = [_part(part, f"message.parts[{index}]") for index, part in enumerate(parts)]
    read_input([{"type": "message", "role": "user", "content": content}], asked, "message")
    text = "\n".join(part["text"] for part in content if part["type"] == "input_text")
    uploads = [Attachment(one.name, one.mime_type, one.data) for one in asked.uploads]
    message_id = given.get("messageId")
    return Message(
        asked.items,
        uploads,
        text,
        message_id[:200] if isinstance(message_id, str) else "",
        _id(given, "contextId"),
        _id(given, "taskId"),
    )


def _id(given: Mapping[str, Any], name: str) -> UUID | None:
    value = given.get(name)
    if not value:
        return None
    try:
        return UUID(str(value))
    except ValueError:
        raise BadRequest.field(f"message.{name}", "must be an id that this server gave") from None


def _part(part: Any, at: str) -> dict[str, Any]:
    held = part if isinstance(part, dict) else {}
    if isinstance(text := held.get("text"), str):
        return {"type": "input_text", "text": text}
    file = held.get("file") if isinstance(held.get("file"), dict) else held
    assert file is not None
    content = file.get("bytes") or file.get("raw")
    if isinstance(content, str):
        mime_type = str(file.get("mimeType") or file.get("mediaType") or "application/octet-stream")
        url = f"data:{mime_type};base64,{content}"
        if mime_type.startswith("image/"):
            return {"type": "input_image", "image_url": url}
        return {"type": "input_file", "file_data": url, "filename": file.get("name") or file.get("filename") or "file"}
    raise BadRequest.field(at, "must be a text, or a file with its bytes: this server fetches nothing for its callers")
