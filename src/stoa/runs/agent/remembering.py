"""An agent's use of memories: which earlier messages it reads, and what it stores. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

from stoa.gateway import Passage
from stoa.memory import MemoryAddition, RememberedMessage, Scope, kept
from stoa.runs.types import Run

Strategy = Literal["all", "relevant", "both"]
STRATEGIES: Final[Sequence[Strategy]] = ("all", "relevant", "both")
LIMIT: Final = 100
LIMIT_MAX: Final = 500
CANDIDATES_MAX: Final = 500
"""Newest messages among which the relevant ones are searched; beyond 200 exchanges by keywords only."""
RELEVANT_MAX: Final = 20
"""Relevant exchanges in the prompt."""
EXCHANGE_CHARACTERS_MAX: Final = 4_000


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """`memory_id` None: the run's own conversation. `limit` None: as many messages as fit.

    `scope` session means the messages of the run's session, user those of all the user's sessions.
    `save` full also stores tool calls and their results, and shows them again.
    """

    memory_id: UUID | None = None
    strategy: Strategy = "all"
    limit: int | None = None
    scope: Literal["session", "user"] = "session"
    save: Literal["input_output", "full"] = "input_output"


@dataclass(frozen=True, slots=True)
class EarlierMessage:
    """One earlier message."""

    role: str
    text: str
    session_id: str | None = None
    turns: Sequence[Mapping[str, Any]] | None = None
    """The replies of an answer with calls, as in `turns_json`."""


def memory_use(given: Any, strategy: Any = None, limit: Any = None) -> MemoryUse | None:
    """From the field `memory` of an agent: true or an object of the platform's or of Stoa's form; None if the agent
    has no memory. Raises ValueError with a sentence that continues after the field's name."""
    if given is None or given is False:
        return None
    if given is True:
        given = {}
    if not isinstance(given, Mapping):
        raise ValueError("must be true, false or an object")
    backend = given.get("backend")
    named = given.get("memory_id") or (backend.get("memory_id") if isinstance(backend, Mapping) else None)
    strategy = given.get("strategy") or strategy or "all"
    if strategy not in STRATEGIES:
        raise ValueError(f"has a strategy that is none of {', '.join(STRATEGIES)}")
    limit = given.get("limit") or given.get("message_limit") or limit
    if limit is not None and (type(limit) is not int or limit < 1):
        raise ValueError("has a limit that is no number of messages")
    scope = given.get("scope") or "session"
    if scope not in ("session", "user"):
        raise ValueError("has a scope that is neither session nor user")
    save = given.get("save_mode") or "input_output"
    if save not in ("input_output", "full"):
        raise ValueError("has a save_mode that is neither full nor input_output")
    if named is None:
        return MemoryUse(None, strategy, min(limit, LIMIT_MAX) if limit else None)
    try:
        memory_id = UUID(str(named))
    except ValueError:
        raise ValueError("has a memory_id that is no UUID") from None
    return MemoryUse(memory_id, strategy, min(limit or LIMIT, LIMIT_MAX), scope, save)


def memory_of(run: Run) -> MemoryUse | None:
    """Of the agent of a conversation, which remembers its conversation unless its definition says otherwise."""
    given = (run.options.get("agent") or {}).get("memory")
    return MemoryUse() if given is None else memory_use(given)


def session_of(run: Run) -> str | None:
    """On an app's host the session is optional; any other conversation is a session."""
    if run.session_id is not None:
        return str(run.session_id)
    return None if "fields" in run.options else str(run.conversation_id)


def scope_of(run: Run, user_id: str, use: MemoryUse) -> Scope:
    session = session_of(run)
    if session is None or use.scope == "user":
        return Scope(user_id, None, of_sessions=True, of_user=True)
    return Scope(user_id, session, of_sessions=True, of_user=False)


def conversed(
    run: Run,
    use: MemoryUse | None,
    key: str,
    question: str,
    answer: str,
    turns: Sequence[Mapping[str, Any]] | None,
) -> MemoryAddition | None:
    """The messages to store in a memory; None without a memory or a user. `turns` are the answer's replies if it made
    calls."""
    if use is None or use.memory_id is None or run.end_user is None or not answer:
        return None
    answered = _with_calls(turns, answer) if use.save == "full" and turns else [_message("assistant", answer)]
    return MemoryAddition(use.memory_id, run.end_user, session_of(run), key, [_message("user", question), *answered])


def _message(role: str, text: str) -> Mapping[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": kept(text)}] if text else []}


def _with_calls(turns: Sequence[Mapping[str, Any]], answer: str) -> list[Mapping[str, Any]]:
    """In the platform's form: a reply with its `tool_calls`, then a message for each result, finally the answer."""
    messages: list[Mapping[str, Any]] = []
    for turn in turns:
        if not turn["calls"]:
            continue
        calls = [
            {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
            for call in turn["calls"]
        ]
        messages.append({**_message("assistant", turn["text"]), "tool_calls": calls})
        messages += [
            {**_message("tool", call["result"]), "tool_call_id": call["id"], "name": call["name"]}
            for call in turn["calls"]
        ]
    last = turns[-1]
    return [*messages, _message("assistant", last["text"] if not last["calls"] and last["text"] else answer)]


def recalled(found: Sequence[RememberedMessage], use: MemoryUse) -> Sequence[EarlierMessage]:
    """The messages of a memory, oldest first, without calls that have no result, which providers refuse."""
    whole = use.save == "full"
    results = {one.tool_call_id: one.text for one in found if one.role == "tool"} if whole else {}
    said: list[EarlierMessage] = []
    begun: dict[str | None, list[dict[str, Any]]] = {}
    """Of answers whose end is still to come, by their session."""
    for one in found:
        calls = [call for call in one.tool_calls if call["id"] in results] if one.role == "assistant" else []
        if calls:
            made = [{**call, "failed": False, "result": results[call["id"]]} for call in calls]
            begun.setdefault(one.session_id, []).append({"text": one.text, "calls": made})
        elif one.role != "tool" and one.text:
            turns = begun.pop(one.session_id, None) if one.role == "assistant" else None
            if one.role == "user":
                begun.pop(one.session_id, None)  # Calls of an answer whose end is missing.
            replies = [*turns, {"text": one.text, "calls": []}] if turns else None
            said.append(EarlierMessage(one.role, one.text, one.session_id, replies))
    return said


def divided(
    said: Sequence[EarlierMessage], use: MemoryUse, session: str | None
) -> tuple[Sequence[EarlierMessage], Sequence[EarlierMessage]]:
    """The messages to show as history, and those to search. `said` is oldest first."""
    if use.strategy == "relevant":
        return (), said
    own = [one for one in said if one.session_id == session] if use.strategy == "both" and session else said
    recent = own[-use.limit :] if use.limit is not None else own
    if use.strategy == "all":
        return recent, ()
    shown = set(map(id, recent))
    return recent, [one for one in said if id(one) not in shown]


def exchanges(said: Sequence[EarlierMessage]) -> Sequence[Passage]:
    """Questions with their answers, as searchable texts."""
    return [Passage(text) for text in _exchanges(said)]


def _exchanges(said: Sequence[EarlierMessage]) -> Iterator[str]:
    waiting: EarlierMessage | None = None
    for one in said:
        if waiting is not None and one.role == "assistant" and one.session_id == waiting.session_id:
            yield _cut(f"User: {waiting.text}\n\nAssistant: {one.text}")
            waiting = None
            continue
        if waiting is not None:
            yield _cut(f"User: {waiting.text}")
        waiting = one if one.role == "user" else None
        if waiting is None:
            yield _cut(f"Assistant: {one.text}")
    if waiting is not None:
        yield _cut(f"User: {waiting.text}")


def _cut(text: str) -> str:
    return text if len(text) <= EXCHANGE_CHARACTERS_MAX else f"{text[:EXCHANGE_CHARACTERS_MAX]}…"
