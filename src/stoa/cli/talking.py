"""Code of `stoa chat`, `stoa ask` and `stoa runs follow`: creating conversations, sending messages, drawing answers."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stoa.cli.answer.following import Following, Outcome
from stoa.cli.answer.printer import AnswerPrinter
from stoa.cli.answer.reader import Reader, stream_of
from stoa.cli.asking import Exit, ask_all, base_id_of, create, errors, fail, refused
from stoa.cli.client import request
from stoa.cli.forms import uploading
from stoa.cli.stream import events
from stoa.cli.stream.errors import StoaError
from stoa.cli.stream.events import AnyEvent
from stoa.cli.stream.follow import Follower
from stoa.cli.stream.transport import EVENT_STREAM, Call, Transport, path

FILE_SECONDS_MAX = 300


def new_conversation(url: str | None, key: str | None, model: str | None, bases: Sequence[str]) -> dict[str, Any]:
    """Creates a conversation with this model (or the default) and these knowledge bases."""
    body: dict[str, Any] = {"model_id": model_id_of(url, key, model)}
    if bases:
        body["agent"] = {"knowledge_bases": [base_id_of(url, key, one) for one in bases]}
    return dict(create(url, key, "/v1/conversations", body))


def model_id_of(url: str | None, key: str | None, model: str | None) -> str:
    """Finds a model by id, slug or name; None gives the default. Ends the command if there is no such model."""
    found = ask_all(url, key, "/v1/router/models")
    if model is None:
        chosen = [one for one in found if one.get("default")] or found[:1]
    else:
        chosen = [one for one in found if model in (one["id"], one["slug"])] or [
            one for one in found if model == one["name"]
        ]
    if not chosen:
        raise fail(f"There is no model {model}. These are there: {', '.join(one['slug'] for one in found) or 'none'}")
    return str(chosen[0]["id"])


def upload(transport: Transport, conversation_id: str, file: Path) -> dict[str, Any]:
    """Uploads a file to the conversation, and waits until the server has read it. Raises StoaError, OSError."""
    to = path("/v1/conversations/{}/files", conversation_id)
    made = transport.json(uploading(to, "file", [(file, file.read_bytes())]))
    found, until = made["data"], time.monotonic() + FILE_SECONDS_MAX
    while found["status"] == "pending" and time.monotonic() < until:
        time.sleep(0.2)
        found = transport.json(request("GET", path("/v1/files/{}", found["id"])))["data"]
    if found["status"] == "failed":
        raise StoaError(f"{file.name} could not be read: {found['error']['message']}")
    return dict(found)


def message_body(text: str, files: Sequence[Mapping[str, Any]], **fields: Any) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}] if text.strip() else []
    parts += [{"type": "file", "file": {"id": one["id"], "name": one["name"]}} for one in files]
    return {"content": parts, **fields}


def sending(conversation_id: str, body: Mapping[str, Any], idempotency_key: str) -> tuple[Call, Follower]:
    """The call that sends a message and streams its answer. Repeating it streams the same answer from the start."""
    headers = {"Accept": EVENT_STREAM, "Content-Type": "application/json", "Idempotency-Key": idempotency_key}
    where = path("/v3/conversations/{}/messages", conversation_id)
    return Call("POST", where, body=json.dumps(body).encode(), headers=headers), Follower()


def on_terminal() -> bool:
    """Whether the standard output is a terminal whose cursor can be moved."""
    return sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb")


def person_is_there() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def follow(
    transport: Transport,
    what: tuple[Call, Follower],
    *,
    patient: bool = False,
    on_event: Callable[[AnyEvent], None] = lambda _: None,
    quiet: bool = False,
) -> Outcome:
    """Draws the answer to its end. `quiet`: prints nothing and asks nothing."""
    with open(os.devnull, "w", encoding="utf-8") if quiet else _standard_output() as file:  # noqa: PTH123
        printer = AnswerPrinter(file, live=not quiet and on_terminal())
        following = Following(transport, printer, asks=not quiet and person_is_there(), on_event=on_event)
        return following.run(Reader(transport, *what, patient=patient))


class _standard_output:  # noqa: N801 — used like a function
    """A context that does not close the standard output."""

    def __enter__(self) -> Any:
        return sys.stdout

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()


def follow_run(transport: Transport, run_id: str, **options: Any) -> Outcome:
    return follow(transport, stream_of(run_id), **options)


def exit_code(outcome: Outcome) -> Exit:
    """The exit code. Prints what was not printed below the answer."""
    if outcome.error is not None:
        return Exit(refused(outcome.error).exit_code)
    if outcome.left:
        if outcome.run_id:
            errors.print(f"The run may still go on: stoa runs follow {outcome.run_id}", style="yellow", markup=False)
        return Exit.INTERRUPTED
    if outcome.waits:
        errors.print(f"The run waits for a person: stoa runs answer {outcome.run_id}", style="yellow", markup=False)
        return Exit.WAITS
    if isinstance(outcome.terminal, events.RunCanceledEvent):
        return Exit.INTERRUPTED
    if outcome.verified is False:
        errors.print("Not every event came as the server wrote it; look for a proxy that changes answers.", style="red")
        return Exit.FAILED
    return Exit.DONE if isinstance(outcome.terminal, events.RunCompleted) else Exit.FAILED


def read_question(words: Sequence[str]) -> str:
    """The words of the command line, and below them the standard input, if `-` is given or there are no words.

    Otherwise it is not read, because reading a pipe that stays open would never end.
    """
    text = " ".join(word for word in words if word != "-")
    if "-" not in words and (text or sys.stdin.isatty()):
        return text
    piped = sys.stdin.buffer.read().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").replace("\r\n", "\n")
    return "\n\n".join(part for part in (text, piped.rstrip("\n")) if part)
