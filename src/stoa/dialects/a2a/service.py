"""A2A's methods over runs: a task is a run, a context a conversation."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias
from uuid import UUID

from stoa.dialects.a2a.asked import Listing, Message, token_of
from stoa.dialects.a2a.errors import UNSUPPORTED, Refused
from stoa.dialects.a2a.shapes import STATES, Words
from stoa.dialects.a2a.translator import A2aTranslator, answer_artifacts, encode
from stoa.dialects.starting import Beginning, Order, agent_of, once_for
from stoa.dialects.threads import Threads
from stoa.events import decode
from stoa.journal import Record
from stoa.kernel.errors import NotFound
from stoa.kernel.principal import Principal
from stoa.runs import DialectFilter, Input, RequestType, Run, RunStatus
from stoa.streams import Follower, Streams

DIALECT: Final = "a2a"
Contents: TypeAlias = Mapping[UUID, Sequence[Mapping[str, Any]]]
"""The limit of message ids."""
_NO: Final = frozenset({"no", "deny", "denied", "reject", "rejected", "decline", "declined", "false", "cancel"})


class TaskNotFound(NotFound):
    """There is no such task, or it belongs to another agent."""


class Tasks:
    def __init__(self, beginning: Beginning, streams: Streams, threads: Threads) -> None:
        self._beginning = beginning
        self._threads = threads
        self._runs = beginning.runs
        self._streams = streams

    async def send(self, principal: Principal, agent: str, message: Message) -> Run:
        """The run that the message starts, or that was waiting for it. A context that the client names itself is
        created with its first message. Raises AppError, and Refused for a task that accepts no message."""
        if message.task is not None:
            return await self._answer(principal, agent, message, message.task)
        app_id, slug = agent_of(agent)
        wanted = {"dialect": DIALECT, "agent": agent, "message_id": message.id}
        conversation: UUID | None = None
        if message.context is not None:
            conversation = (await self._threads.named(principal, message.context, agent)).id
            if str(conversation) != message.context:
                wanted["context"] = message.context
        order = Order(slug, message.items, wanted, message.uploads, conversation, app_id)
        return await self._beginning.start(
            principal, order, once_for(DIALECT, agent, message.context or "", message.id)
        )

    async def _answer(self, principal: Principal, agent: str, message: Message, task: UUID) -> Run:
        """A message to a task answers the task's open question."""
        run = await self.get(principal, agent, task)
        asked = (await self._runs.requests(principal, [run.id])).get(run.id, ())
        if not asked:
            raise Refused(UNSUPPORTED, f"The task {run.id} takes no message: it is {run.status.value}.")
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

    async def shown(self, principal: Principal, run: Run, words: Words, history: int | None = None) -> dict[str, Any]:
        translator = _translator(run, words)
        async for records in self._streams.records(principal, run.id):
            translator.take([decode(record.type, record.payload) for record in records])
        contents = await self._contents(principal, [run]) if history else None
        return {**translator.task(), **_history(run, words, contents)}

    async def ended(self, principal: Principal, run: Run, words: Words, history: int | None = None) -> dict[str, Any]:
        """The task, once it has ended or waits for a message."""
        return await self.shown(principal, await self._runs.ended(principal, run.id), words, history)

    async def cancel(self, principal: Principal, run: Run, words: Words) -> dict[str, Any]:
        await self._runs.cancel(principal, run.id)
        return await self.shown(principal, run, words)

    async def list(self, principal: Principal, agent: str, listing: Listing, words: Words) -> dict[str, Any]:
        """A page of the agent's tasks, newest first, built from their rows: no journal is read."""
        conversation: UUID | None = None
        if listing.context is not None:
            found = await self._threads.find(principal, listing.context)
            if found is None:
                return _page([], listing, 0)
            conversation = found.id
        wanted = DialectFilter(DIALECT, agent, listing.statuses, conversation, listing.since, listing.after)
        runs, total = await self._runs.of_dialect(principal, wanted, listing.page_size + 1)
        page = runs[: listing.page_size]
        contents = await self._contents(principal, page) if listing.history else None
        tasks = [
            {**task_of_row(run, words, artifacts=listing.artifacts), **_history(run, words, contents)} for run in page
        ]
        more = runs[listing.page_size - 1] if len(runs) > listing.page_size else None
        return _page(tasks, listing, total, token_of(more.created_at, more.id) if more is not None else "")

    async def _contents(self, principal: Principal, runs: Sequence[Run]) -> Contents:
        """The contents of the messages that started these tasks."""
        places = [(run.conversation_id, run.message_position) for run in runs]
        return await self._beginning.conversations.contents(principal, places)

    def frames(self, principal: Principal, run: Run, words: Words, request_id: Any) -> Follower:
        """Every update from the first on, then live ones."""
        translator = _translator(run, words)

        def translate(records: Sequence[Record]) -> bytes:
            return encode(translator.take([decode(record.type, record.payload) for record in records]), request_id)

        return self._streams.translated(principal, run.id, translate)


def _history(run: Run, words: Words, contents: Contents | None) -> dict[str, Any]:
    """The message that started the task, where the client asked for history. The answer is an artifact."""
    if contents is None:
        return {}
    if (content := contents.get(run.message_id)) is None:
        return {"history": []}
    name = str((run.options.get("wanted") or {}).get("message_id") or run.message_id)
    parts = [words.text(part["text"]) if part["type"] == "text" else words.data(part["file"]) for part in content]
    return {"history": [words.message(name, str(run.id), context_of(run), parts, "user")]}


def context_of(run: Run) -> str:
    """The client's own name for the context, or the conversation's id."""
    return str((run.options.get("wanted") or {}).get("context") or run.conversation_id)


def task_of_row(run: Run, words: Words, *, artifacts: bool) -> dict[str, Any]:
    changed = run.ended_at or run.started_at or run.created_at
    task: dict[str, Any] = {
        **words.kind("task"),
        "id": str(run.id),
        "contextId": context_of(run),
        "status": {
            "state": words.state(STATES[run.status]),
            "timestamp": changed.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        },
    }
    if artifacts:
        task["artifacts"] = answer_artifacts(words, run.output or "")
    return task


def _page(tasks: Sequence[Mapping[str, Any]], listing: Listing, total: int, token: str = "") -> dict[str, Any]:
    return {"tasks": tasks, "nextPageToken": token, "pageSize": listing.page_size, "totalSize": total}


def _translator(run: Run, words: Words) -> A2aTranslator:
    return A2aTranslator(words, str(run.id), context_of(run))


def ended(run: Run) -> bool:
    return run.status not in (RunStatus.CREATED, RunStatus.STARTED, RunStatus.PAUSED)
