"""`stoa ask`: one question and one answer, for scripts and for people."""

import sys
import time
import uuid
from pathlib import Path
from typing import Annotated

import typer

from stoa.cli.answer.following import tell_end
from stoa.cli.asking import HERE, Exit, Json, Key, Url, ask, fail, out, print_json, refused, server
from stoa.cli.stream.errors import StoaError
from stoa.cli.stream.events import AnyEvent
from stoa.cli.talking import (
    exit_code,
    follow,
    message_body,
    new_conversation,
    on_terminal,
    read_question,
    sending,
    upload,
)
from stoa.cli.text import plain

Words = Annotated[list[str] | None, typer.Argument(help="The question; - is the standard input, also after words.")]
Model = Annotated[str | None, typer.Option(help="A model's slug. \\[default: the server's]", show_default=False)]
Bases = Annotated[
    list[str] | None,
    typer.Option("--base", "-b", help="A knowledge base to search, by name or id. Repeat it.", show_default=False),
]
Files = Annotated[
    list[Path] | None,
    typer.Option("--file", "-f", help="A file to read. Repeat it.", exists=True, dir_okay=False, show_default=False),
]
Conversation = Annotated[
    str | None, typer.Option("--conversation", "-c", help="Ask in this conversation.", show_default=False)
]


def ask_once(
    question: Words = None,
    model: Model = None,
    base: Bases = None,
    file: Files = None,
    conversation: Conversation = None,
    forget: Annotated[bool, typer.Option("--forget", help="Delete the conversation afterwards.")] = False,
    events: Annotated[bool, typer.Option("--events", help="Print every event, a JSON line each, as it comes.")] = False,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Ask one question and print the answer.

    On a terminal the answer appears as it is written. In a pipe it is printed once, whole, when it is done, so that
    nothing of it can be void. The server may be killed meanwhile. Ends with 0 when there is an answer, 1 when the run
    failed, 3 without a server, 6 when it waits for a person, 130 after Ctrl-C, which stops the run.

    [dim]Examples:[/]

        stoa ask "What may a hotel cost?" --base Policies
        git diff | stoa ask "Review this change" - --model openai/gpt-5-mini
        stoa ask - --json < question.txt | jq -r .output
    """
    text = read_question(question or [])
    if not text.strip() and not file:
        raise fail('Ask something: stoa ask "…", or pipe it in.', Exit.USED_WRONGLY)
    if conversation and (model or base):
        raise fail(
            "A conversation has its model and its bases already: leave out --model and --base.", Exit.USED_WRONGLY
        )
    transport, begun = server(url, key), time.monotonic()
    conversation_id = conversation or new_conversation(url, key, model, base or [])["id"]
    try:
        files = [upload(transport, conversation_id, one) for one in file or []]
    except (StoaError, OSError) as error:
        raise refused(error if isinstance(error, StoaError) else StoaError(str(error))) from error
    what = sending(conversation_id, message_body(text, files), str(uuid.uuid4()))
    quiet = as_json or events or not on_terminal()
    outcome = follow(transport, what, quiet=quiet, on_event=_print_event if events else lambda _: None)
    if as_json and outcome.run_id:
        print_json(ask("GET", url, key, f"/v1/runs/{outcome.run_id}")["data"])
    elif not quiet:
        tell_end(outcome, time.monotonic() - begun)
    elif not events and outcome.terminal is not None:
        sys.stdout.write(_answer(outcome.terminal.data.get("output") or outcome.text))
        sys.stdout.flush()
        if (error := outcome.terminal.data.get("error")) is not None:
            out.file.flush()
            raise fail(str(error["message"]))
    if forget and not conversation:
        ask("DELETE", url, key, f"/v1/conversations/{conversation_id}")
    if (code := exit_code(outcome)) is not Exit.DONE:
        raise typer.Exit(int(code))


def _print_event(event: AnyEvent) -> None:
    import json  # noqa: PLC0415 — for this option alone

    sys.stdout.write(json.dumps(event.raw) + "\n")
    sys.stdout.flush()


def _answer(text: str) -> str:
    """The text to print: on a terminal without control characters, in a pipe exactly what the model wrote."""
    whole = plain(text) if sys.stdout.isatty() else text
    return whole if whole.endswith("\n") else f"{whole}\n"
