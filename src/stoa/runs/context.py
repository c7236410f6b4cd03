"""The model's context: the conversation, and the passages of its files that fit, selected by relevance."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol
from uuid import UUID

import orjson

from stoa.conversations import File, HistoryMessage, ReadFile, Role, Transcript, text_of
from stoa.gateway import (
    Capabilities,
    DocumentPart,
    ImagePart,
    ModelMessage,
    ModelRequest,
    Part,
    Passage,
    TextPart,
    estimated_tokens,
)
from stoa.memory import Recalling
from stoa.runs.agent import items
from stoa.runs.agent.checkpoint import Turn
from stoa.runs.agent.knowledge import Library, as_documents, bases_of
from stoa.runs.agent.prompting import turn_messages
from stoa.runs.agent.remembering import (
    CANDIDATES_MAX,
    RELEVANT_MAX,
    MemoryUse,
    Said,
    divided,
    exchanges,
    memory_of,
    recalled,
    scope_of,
    session_of,
)
from stoa.runs.rules import HISTORY_MESSAGES_MAX
from stoa.runs.types import Run, ToolCallRow
from stoa.runs.workflow.ports import FileText

IMAGE_BYTES_MAX: Final = 10 * 1024 * 1024
ANSWER_SHARE: Final = 0.25
"""Share of a model's context for its answer and for the error of our token estimate."""
HISTORY_SHARE: Final = 0.5
"""Maximum share of the remainder for earlier messages; documents get the rest."""
RELEVANT_SHARE: Final = 0.2
"""Maximum share of the same for relevant passages of a memory."""

EARLIER_CALLS_MAX: Final = 50
ARGUMENT_CHARACTERS_MAX: Final = 500
"""Characters of the calls of an earlier answer in the note for the next one."""


class Relevance(Protocol):
    """Selects the passages that answer a question."""

    async def select(
        self, question: str, documents: Sequence[Sequence[Passage]], budget_tokens: int
    ) -> Sequence[Sequence[Passage]]:
        """The passages to keep of each document, in document order."""
        ...

    async def rank(self, question: str, passages: Sequence[Passage], limit: int) -> Sequence[tuple[int, float]]:
        """(index, score) of the relevant texts, best first."""
        ...


EarlierCalls = Callable[[Run], Awaitable[Sequence[ToolCallRow]]]
"""The tool calls that earlier answers to a run's message have begun."""


async def _none(_: Run) -> Sequence[ToolCallRow]:
    return ()


class Context:
    def __init__(self, transcript: Transcript, relevance: Relevance, library: Library, recalling: Recalling) -> None:
        self._transcript = transcript
        self._relevance = relevance
        self._library = library
        self._recalling = recalling
        self.earlier_calls: EarlierCalls = _none
        """Set by the component: the ledger is read by the service, which comes after this."""

    async def request(self, run: Run, abilities: Capabilities) -> tuple[ModelRequest, int]:
        """The model's request, and the number of messages that do not fit."""
        return await self._request(run, abilities, await self._asked(run), bases_of(run), memory_of(run))

    async def of_node(
        self,
        run: Run,
        abilities: Capabilities,
        question: str,
        *,
        memory: MemoryUse | None,
        base_ids: Sequence[UUID] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> ModelRequest:
        """The context of an agent within a graph: its question with the run's files, and its memory."""
        asked = await self._asked(run)
        files = [part for part in asked.content if part["type"] != "text"]
        asked = asked._replace(content=[{"type": "text", "text": question}, *files])
        made, _ = await self._request(run, abilities, asked, base_ids, memory)
        return replace(made, extra=extra or {})

    async def files_of(self, run: Run) -> Sequence[FileText]:
        """The files of the message that the run answers, in its order, once they have been read."""
        asked = await self._asked(run)
        read = await self._transcript.files(run.org_id, run.conversation_id, [asked])
        wanted = [UUID(part["file"]["id"]) for part in asked.content if part["type"] == "file"]
        return [_text_of(read[file_id]) for file_id in dict.fromkeys(wanted) if file_id in read]

    async def _request(
        self,
        run: Run,
        abilities: Capabilities,
        asked: HistoryMessage,
        base_ids: Sequence[UUID],
        memory: MemoryUse | None,
    ) -> tuple[ModelRequest, int]:
        budget = int(abilities.context_tokens * (1 - ANSWER_SHARE))
        earlier, relevant = await self._earlier(run, text_of(asked.content), memory, int(budget * RELEVANT_SHARE))
        if memory is None or memory != MemoryUse():  # Otherwise the messages are read from the conversation.
            asked = asked._replace(position=len(earlier) + 1)
        kept, used = newest_that_fit([*earlier, asked], int(budget * HISTORY_SHARE))
        files = await self._transcript.files(run.org_id, run.conversation_id, kept)
        documents = await self._documents(text_of(kept[-1].content), files, abilities, budget - used) if files else {}
        shown = {
            file_id: await self._shown(read.file, documents[file_id], abilities) for file_id, read in files.items()
        }
        rendered = _all_rendered(kept, shown, abilities)
        if not abilities.tools and base_ids:  # A model without tools gets the results of a search.
            found = await self._library.look(run, base_ids, text_of(kept[-1].content), None)
            last = rendered.pop().parts if rendered and rendered[-1].role == "user" else ()
            rendered.append(ModelMessage("user", (*last, *as_documents(found))))
        if relevant and rendered and rendered[-1].role == "user":
            before = DocumentPart("earlier conversations", tuple(relevant), complete=False)
            rendered.append(ModelMessage("user", (*rendered.pop().parts, before)))
        left_out = kept[0].position - 1
        notes = [note for said in kept if _as_items(said) for note in items.instructions_of(said.turns or ())]
        if left_out:
            notes.append(
                f"The conversation's {left_out} oldest messages are not shown: they do not fit this model's context."
            )
        if run.options.get("regenerates") and (made := await self.earlier_calls(run)):
            notes.append(_earlier_answers(made))
        messages = [message for message in rendered if message.parts]
        return ModelRequest(messages=messages, instructions="\n\n".join(notes) or None), left_out

    async def _earlier(
        self, run: Run, question: str, memory: MemoryUse | None, budget_tokens: int
    ) -> tuple[Sequence[HistoryMessage], Sequence[Passage]]:
        """Earlier messages: the history, oldest first, and further passages that are relevant to the question."""
        if memory is None:
            return (), ()
        user_id = run.end_user
        if memory.memory_id is None or user_id is None:
            messages = await self._transcript.messages(
                run.org_id, run.conversation_id, run.message_position - 1, HISTORY_MESSAGES_MAX - 1
            )
            if memory.strategy == "all":
                own = messages[-memory.limit :] if memory.limit else messages
                return (own if memory == MemoryUse() else _placed(own)), ()
            said = [Said(one.role, text_of(one.content)) for one in messages]
            recent, others = divided(said, memory, None)
            own = messages[len(messages) - len(recent) :]
            return _placed(own), await self._relevant(question, others, budget_tokens)
        limit = CANDIDATES_MAX if memory.strategy != "all" else memory.limit or CANDIDATES_MAX
        scope = scope_of(run, user_id, memory)
        found = await self._recalling.newest(run.org_id, run.project_id, memory.memory_id, scope, limit)
        said = recalled(found, memory)
        recent, others = divided(said, memory, session_of(run))
        return [_message(one, place) for place, one in enumerate(recent, 1)], await self._relevant(
            question, others, budget_tokens
        )

    async def _relevant(self, question: str, said: Sequence[Said], budget_tokens: int) -> Sequence[Passage]:
        """The exchanges that are relevant to a question and fit, oldest first."""
        if not said:
            return ()
        passages = exchanges(said)
        chosen: list[int] = []
        for index, _ in await self._relevance.rank(question, passages, RELEVANT_MAX):
            cost = estimated_tokens(len(passages[index].text))
            if cost <= budget_tokens:
                chosen.append(index)
                budget_tokens -= cost
        return [passages[index] for index in sorted(chosen)]

    async def _asked(self, run: Run) -> HistoryMessage:
        """The message that the run answers. Its transaction may not be committed yet, so it is not read, except if it
        may consist of items: then it is an earlier message, or the run is prepared after the commit."""
        if run.options.get("items") or run.options.get("regenerates"):
            (message,) = await self._transcript.messages(run.org_id, run.conversation_id, run.message_position, 1)
            return message
        return HistoryMessage(run.message_position, Role.USER, run.input["content"], "completed")

    async def _documents(
        self, question: str, files: Mapping[UUID, ReadFile], abilities: Capabilities, budget_tokens: int
    ) -> Mapping[UUID, DocumentPart]:
        """What the model may read of each file."""
        whole = {
            file_id: [Passage(passage.text, passage.page, passage.heading) for passage in read.passages]
            for file_id, read in files.items()
        }
        chosen: Sequence[Sequence[Passage]] = list(whole.values())
        if (
            not abilities.documents
            and sum(estimated_tokens(len(passage.text)) for passages in chosen for passage in passages) > budget_tokens
        ):
            chosen = await self._relevance.select(question, list(whole.values()), max(budget_tokens, 0))
        return {
            file_id: DocumentPart(
                name=files[file_id].file.name,
                passages=tuple(kept),
                complete=len(kept) == len(whole[file_id]),
                error=_error(files[file_id].file),
            )
            for file_id, kept in zip(whole, chosen, strict=True)
        }

    async def _shown(self, file: File, document: DocumentPart, abilities: Capabilities) -> Part:
        """A file as the model gets it."""
        if not file.mime_type.startswith("image/"):
            return document
        if not abilities.images:
            return DocumentPart(file.name, error="this model cannot see images")
        if file.size > IMAGE_BYTES_MAX:
            return DocumentPart(file.name, error=f"the image is over {IMAGE_BYTES_MAX // 1024 // 1024} MiB")
        return ImagePart(file.name, file.mime_type, await self._transcript.content(file))


def _placed(messages: Sequence[HistoryMessage]) -> Sequence[HistoryMessage]:
    """Numbered from 1; a selected passage is never truncated."""
    return [one._replace(position=place) for place, one in enumerate(messages, 1)]


def _message(said: Said, position: int) -> HistoryMessage:
    return HistoryMessage(position, Role(said.role), [{"type": "text", "text": said.text}], "completed", said.turns)


def _as_items(said: HistoryMessage) -> bool:
    return bool(said.turns) and said.role is Role.USER


def _all_rendered(
    kept: Sequence[HistoryMessage], shown: Mapping[UUID, Part], abilities: Capabilities
) -> list[ModelMessage]:
    rendered: list[ModelMessage] = []
    names: dict[str, str] = {}
    """The tools of the calls so far: a result names its call alone."""
    for said in kept:
        if _as_items(said):
            made = items.messages_of(said.turns or (), shown, names)
            rendered += made if abilities.tools else items.without_calls(made)
        else:
            rendered += _rendered(said, shown, abilities)
        if said.turns:
            held = [call for turn in said.turns for call in turn.get("calls", ())]
            held += [item for item in said.turns if item.get("type") == "call"]
            names |= {call["id"]: call["name"] for call in held}
    return rendered


def _rendered(said: HistoryMessage, shown: Mapping[UUID, Part], abilities: Capabilities) -> Sequence[ModelMessage]:
    if said.turns and abilities.tools:
        return turn_messages([Turn.replayed(turn) for turn in said.turns])
    parts: list[Part] = []
    for part in said.content:
        if part["type"] != "text":
            parts.append(shown[UUID(part["file"]["id"])])
        elif part["text"]:
            parts.append(TextPart(part["text"]))
    return [ModelMessage("user" if said.role is Role.USER else "assistant", tuple(parts))]


def newest_that_fit(messages: Sequence[HistoryMessage], budget_tokens: int) -> tuple[Sequence[HistoryMessage], int]:
    """The longest run of newest messages within the budget, and its tokens; the last one always, whatever its size.

    It begins with a user's message: an answer without its question would mislead, and some providers refuse it.
    """
    kept, sizes = [messages[-1]], [_tokens(messages[-1])]
    used = sizes[0]
    for message in reversed(messages[:-1]):
        size = _tokens(message)
        used += size
        if used > budget_tokens:
            break
        kept.append(message)
        sizes.append(size)
    while len(kept) > 1 and kept[-1].role is Role.ASSISTANT:
        kept.pop()
        sizes.pop()
    return kept[::-1], sum(sizes)


def _tokens(said: HistoryMessage) -> int:
    characters = sum(len(part["text"]) for part in said.content if part["type"] == "text")
    if _as_items(said):
        characters = max(characters, items.characters(said.turns or ()))
    elif said.turns:
        turns = sum(
            len(turn["text"]) + sum(len(call["arguments"]) + len(call["result"]) for call in turn["calls"])
            for turn in said.turns
        )
        characters = max(characters, turns)
    return estimated_tokens(characters)


def _earlier_answers(calls: Sequence[ToolCallRow]) -> str:
    """A note with the tool calls of earlier answers: a regenerated answer does not see these answers, and must not
    repeat their side effects."""
    lines = [f"- {call.name}({_brief(call)}): {_OUTCOMES[call.status]}" for call in calls[-EARLIER_CALLS_MAX:]]
    return (
        "An earlier answer to the last message, which is not shown, began these tool calls. Do not make them again"
        " unless you are asked to:\n" + "\n".join(lines)
    )


def _brief(call: ToolCallRow) -> str:
    arguments = orjson.dumps(call.input).decode()
    return arguments if len(arguments) <= ARGUMENT_CHARACTERS_MAX else f"{arguments[:ARGUMENT_CHARACTERS_MAX]}…"


_OUTCOMES: Final = {
    "completed": "made",
    "failed": "failed",
    "unknown": "nobody knows whether it was made",
    "begun": "nobody knows whether it was made",
}


def _text_of(read: ReadFile) -> FileText:
    file = read.file
    error = _error(file) or (None if read.passages else "it holds no text")
    return FileText(file.id, file.name, [(one.page, one.text) for one in read.passages], error)


def _error(file: File) -> str | None:
    return str(file.error["message"]) if file.error else None
