"""Responses: runs, as OpenAI's clients start and read them. This service has no table and no execution of its own."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from stoa.conversations import Conversations, Message, Role
from stoa.db.idempotency import IdempotencyKey
from stoa.dialects.responses import names, shapes
from stoa.dialects.responses.errors import PreviousMissing
from stoa.dialects.responses.reading import Asked
from stoa.dialects.responses.translator import DONE, ResponseTranslator, encode
from stoa.dialects.starting import Attachment, Beginning, Order, check_results, open_calls
from stoa.events import decode
from stoa.journal import Record
from stoa.kernel.errors import BadRequest, Conflict, NotFound
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.runs import Run, Runs, RunStatus
from stoa.streams import Follower, Streams

DIALECT: Final = "responses"
RESULTS: Final = "file_search_call.results"
_ACTIVE: Final = frozenset({RunStatus.CREATED, RunStatus.STARTED, RunStatus.PAUSED})


class Responses:
    def __init__(self, beginning: Beginning, streams: Streams) -> None:
        self._beginning = beginning
        self._runs: Runs = beginning.runs
        self._conversations: Conversations = beginning.conversations
        self._streams = streams

    # --- beginning --------------------------------------------------------------------------------------------------
    async def create(
        self,
        principal: Principal,
        asked: Asked,
        include: Sequence[str],
        once: IdempotencyKey | None,
        *,
        unstored: Collection[str] = (),
    ) -> Run:
        """Starts the run that answers. `unstored` are ids of unstored responses that this caller may continue from.
        Raises AppError."""
        previous = await self._previous(principal, asked.previous, unstored) if asked.previous else None
        if previous is not None and previous.status in _ACTIVE:
            raise Conflict(f"The response {asked.previous} is not complete yet; wait for it, or cancel it.")
        conversation = _conversation_of(asked)
        before = await self._before(principal, previous, conversation)
        items = await self._resolved(principal, asked, previous, conversation)
        asked = replace(asked, items=items)
        check_results(open_calls(before), asked.outputs, asked.calls, names.call_id, "input")
        wanted = {
            **asked.wanted,
            "dialect": DIALECT,
            "store": asked.store,
            "echo": {**asked.echo, "model": asked.model, "previous_response_id": asked.previous},
            **({"conversation": names.conversation_id(conversation)} if conversation is not None else {}),
            **({"include": list(include)} if include else {}),
        }
        uploads = [Attachment(one.name, one.mime_type, one.data) for one in asked.uploads]
        order = Order(
            asked.model,
            items,
            wanted,
            uploads,
            conversation,
            follows=previous,
            user=asked.user,
            metadata=asked.metadata,
        )
        return await self._beginning.start(principal, order, once)

    async def _before(self, principal: Principal, previous: Run | None, conversation: UUID | None) -> Message | None:
        """The message that the new one follows."""
        if previous is not None:
            return await self._beginning.answer_of(principal, previous)
        if conversation is None:
            return None
        held = await self._conversations.get(principal, conversation)
        if not held.message_count:
            return None
        found = (await self._conversations.messages(principal, conversation, PageRequest(held.message_count, 1))).items
        return found[0] if found else None

    async def _resolved(
        self, principal: Principal, asked: Asked, previous: Run | None, conversation: UUID | None
    ) -> list[dict[str, Any]]:
        """The items, with references by id replaced by their items. Those that are in the conversation already are not
        repeated."""
        items = list(asked.items)
        for place, item_id in reversed(asked.references):
            known = names.place_of(item_id)
            found = await self._named(principal, item_id) if known is not None and known.side == "o" else None
            if found is None:
                raise NotFound(f"There is no item {item_id[:100]}.")
            run, item = found
            if run.conversation_id != (previous.conversation_id if previous else conversation):
                items[place:place] = _as_input(item)
        if not items:
            raise BadRequest.field("input", "holds nothing that a model could answer")
        return items

    async def _named(self, principal: Principal, item_id: str) -> tuple[Run, Mapping[str, Any]] | None:
        place = names.place_of(item_id)
        assert place is not None
        run = await self._one(principal, names.response_id(place.owner))
        shown = await self.shown(principal, run)
        return next(((run, item) for item in shown["output"] if item["id"] == item_id), None)

    # --- reading ----------------------------------------------------------------------------------------------------
    async def get(self, principal: Principal, response_id: str) -> Run:
        """Raises NotFound."""
        return await self._one(principal, response_id)

    async def _previous(self, principal: Principal, response_id: str, unstored: Collection[str]) -> Run:
        """Raises PreviousMissing."""
        try:
            return await self._one(principal, response_id, stored=response_id not in unstored)
        except NotFound:
            raise PreviousMissing(
                f"Previous response with id '{response_id[:100]}' not found.",
                details={"previous_response_id": "not found"},
            ) from None

    async def _one(self, principal: Principal, response_id: str, *, stored: bool = True) -> Run:
        """Raises NotFound. `stored`: finds unstored responses too."""
        missing = NotFound(f"Response with id '{response_id[:100]}' not found.")
        run_id = names.our_id(response_id)
        if run_id is None:
            raise missing
        try:
            run = await self._runs.get(principal, run_id)
        except NotFound:
            raise missing from None
        wanted = run.options.get("wanted") or {}
        gone = wanted.get("deleted") or (stored and wanted.get("store") is False)
        if wanted.get("dialect") != DIALECT or gone:
            raise missing
        return run

    async def ended(self, principal: Principal, run: Run) -> dict[str, Any]:
        """The response, once its run has ended or waits for people."""
        return await self.shown(principal, await self._runs.ended(principal, run.id))

    async def shown(self, principal: Principal, run: Run, include: Sequence[str] = ()) -> dict[str, Any]:
        """The current state of the response."""
        translator = translator_of(run, include)
        async for records in self._streams.records(principal, run.id):
            translator.take([decode(record.type, record.payload) for record in records])
        return translator.response()

    def frames(self, principal: Principal, run: Run, after: int = -1, include: Sequence[str] = ()) -> Follower:
        """Its events after a sequence number, then live ones."""
        translator = translator_of(run, include)

        def translate(records: Sequence[Record]) -> bytes:
            return encode(translator.take([decode(record.type, record.payload) for record in records]), after)

        return self._streams.translated(principal, run.id, translate, DONE)

    async def input_items(self, principal: Principal, run: Run) -> list[dict[str, Any]]:
        page = PageRequest(run.message_position, 1)
        found = (await self._conversations.messages(principal, run.conversation_id, page)).items
        return [item for message in found if message.role is Role.USER for item in shapes.input_items(message)]

    # --- ending -----------------------------------------------------------------------------------------------------
    async def cancel(self, principal: Principal, run: Run) -> dict[str, Any]:
        await self._runs.cancel(principal, run.id)
        return await self.shown(principal, await self._runs.get(principal, run.id))

    async def delete(self, principal: Principal, run: Run) -> None:
        """Hides the response. Its data is deleted with its conversation: at once where no other response is part
        of it."""
        await self._runs.cancel(principal, run.id)
        alone = await self._runs.hide(principal, run.id)
        if alone is not None:
            await self._conversations.delete(principal, alone)


def translator_of(run: Run, include: Sequence[str] = ()) -> ResponseTranslator:
    wanted = run.options.get("wanted") or {}
    head = {
        "id": names.response_id(run.id),
        "object": "response",
        "created_at": int(run.created_at.timestamp()),
        **wanted.get("echo", {}),
        "conversation": {"id": wanted["conversation"]} if "conversation" in wanted else None,
        "status": "queued" if run.status is RunStatus.CREATED else "in_progress",
    }
    results = RESULTS in include or RESULTS in wanted.get("include", ())
    return ResponseTranslator(run.id, head, structured="output_schema" in wanted, results=results)


def include_of(given: Any) -> list[str]:
    """The `include` values of a request."""
    return [str(one) for one in given] if isinstance(given, list) else []


def _conversation_of(asked: Asked) -> UUID | None:
    if asked.conversation is None:
        return None
    found = names.our_id(asked.conversation)
    if found is None:
        raise NotFound(f"Conversation with id '{asked.conversation[:100]}' not found.")
    return found


def _as_input(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An item of a response, as the input of another."""
    match item["type"]:
        case "message":
            parts = [{"type": "text", "text": part["text"]} for part in item["content"]]
            return [{"type": "message", "role": "assistant", "content": parts}] if parts else []
        case "function_call":
            call = names.our_call(item["call_id"])
            return [{"type": "call", "id": call, "name": item["name"], "arguments": item["arguments"]}]
        case "mcp_call":
            text = item["output"] if item.get("error") is None else item["error"]
            call = {"type": "call", "id": item["id"], "name": item["name"], "arguments": item["arguments"] or "{}"}
            result = {"type": "result", "id": item["id"], "text": text or "", "failed": item.get("error") is not None}
            return [call, result]
        case _:
            return []
