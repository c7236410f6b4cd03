"""`stoa chat`: a conversation at the terminal that continues after a lost network, a restarted server, and after the
command itself was killed."""

import contextlib
import shlex
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import typer

from stoa.cli import drafts
from stoa.cli.answer.following import Outcome, tell_end
from stoa.cli.asking import HERE, Exit, Key, Url, ask, ask_all, errors, fail, out, server
from stoa.cli.question import Bases, Model
from stoa.cli.stream.errors import ConflictError, StoaError
from stoa.cli.stream.events import RunFailedEvent
from stoa.cli.stream.transport import Transport
from stoa.cli.talking import follow, follow_run, message_body, new_conversation, person_is_there, sending, upload
from stoa.cli.text import at, one_line

HELP: Final = """\
/file PATH   send a file with the next message
/id          the conversation's id
/help        this
/exit        leave (so does Ctrl-D)
Ctrl-C       stop the answer; once more: leave it"""


def chat(
    conversation: str | None = typer.Argument(
        None, help="A conversation's id, to go on with. [default: a new one]", show_default=False
    ),
    last: bool = typer.Option(False, "--last", "-l", help="Go on with the conversation that changed last."),
    model: Model = None,
    base: Bases = None,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Talk with a model. Answers appear as they are written, with their steps; approvals and questions are answered in
    place.

    An answer belongs to the server: after a lost network, Ctrl-Z, or a killed server the same answer goes on, and
    nothing of it comes twice. A chat that was killed itself is taken up by the next `stoa chat`.

    [dim]Examples:[/]

        stoa chat
        stoa chat --base Policies --model openai/gpt-5-mini
        stoa chat --last
    """
    if not person_is_there():
        raise fail("stoa chat needs a terminal. For scripts there is: stoa ask", Exit.USED_WRONGLY)
    if (conversation or last) and (model or base):
        raise fail(
            "A conversation has its model and its bases already: leave out --model and --base.", Exit.USED_WRONGLY
        )
    transport = server(url, key)
    orphan = drafts.take_orphan(transport.base_url) if conversation is None and not (last or model or base) else None
    if orphan is not None:
        conversation = orphan.conversation_id
    elif last:
        conversation = _last(url, key)
    if conversation is None:
        found = new_conversation(url, key, model, base or [])
    else:
        found = ask("GET", url, key, f"/v1/conversations/{conversation}")["data"]
    Chat(transport, found, drafts.DraftFile()).run(orphan)


def _last(url: str | None, key: str | None) -> str:
    found = ask_all(url, key, "/v1/conversations?sort=-updated_at", 1)
    if not found:
        raise fail("There is no conversation yet. Begin one with: stoa chat")
    return str(found[0]["id"])


class Chat:
    """One conversation on one terminal."""

    def __init__(self, transport: Transport, conversation: dict[str, Any], draft_file: drafts.DraftFile) -> None:
        self._transport = transport
        self._conversation = conversation
        self._id = str(conversation["id"])
        self._draft_file = draft_file
        self._files: list[dict[str, Any]] = []

    def run(self, orphan: drafts.Draft | None) -> None:
        """Reads and answers lines until the person leaves."""
        self._greet()
        if orphan is not None:
            out.print("The last chat ended in the middle of this; it goes on:\n", style="dim")
            out.print(f"> {orphan.text}", style="bold", markup=False)
            self._send(orphan)
        elif run_id := self._conversation.get("active_run_id"):
            out.print("An answer is being written:", style="dim")
            self._show(follow_run(self._transport, str(run_id), patient=True), None)
        with contextlib.suppress(EOFError):
            while True:
                self._turn(_read())

    def _greet(self) -> None:
        name = at(self._conversation, "model.slug") or at(self._conversation, "app.name") or ""
        title = self._conversation.get("title")
        heading = f"{title} · " if title else ""
        out.print(f"{heading}{name} · /help for help · {self._id}", style="dim", markup=False)

    def _turn(self, line: str) -> None:
        """Handles one line. Raises EOFError to leave."""
        command, _, rest = line.strip().partition(" ")
        if not command:
            return
        match command:
            case "/exit" | "/quit":
                raise EOFError
            case "/help":
                out.print(HELP, style="dim", markup=False)
            case "/id":
                out.print(self._id, markup=False)
            case "/file":
                self._attach(rest)
            case _ if command.startswith("/") and command[1:].isalpha():
                out.print(f"There is no {command}; /help lists what there is.", style="yellow", markup=False)
            case _:
                body = message_body(line, self._files)
                self._files = []
                self._send(drafts.Draft(self._transport.base_url, self._id, line, body))

    def _attach(self, rest: str) -> None:
        try:
            for name in shlex.split(rest) or [""]:
                file = Path(name).expanduser()
                self._files.append(upload(self._transport, self._id, file))
                out.print(f"{file.name} goes with the next message.", style="dim", markup=False)
        except (StoaError, OSError, ValueError) as error:
            errors.print(str(error), style="red", markup=False)

    def _send(self, draft: drafts.Draft) -> None:
        """Writes the draft to disk, sends it, follows the answer, and removes the draft."""
        with contextlib.suppress(OSError):  # With a read-only home a killed chat cannot be continued.
            self._draft_file.put(draft)
        what = sending(self._id, draft.body, draft.idempotency_key)
        begun = time.monotonic()
        outcome = follow(self._transport, what, patient=True)
        if isinstance(outcome.error, ConflictError) and (busy := outcome.error.active_run_id):
            out.print("Another answer is being written here; yours follows:", style="dim")
            follow_run(self._transport, busy, patient=True)
            outcome = follow(self._transport, what, patient=True)
        self._show(outcome, begun)
        self._draft_file.clear()

    def _show(self, outcome: Outcome, begun: float | None) -> None:
        if outcome.error is not None:
            errors.print(outcome.error.message, style="red", markup=False)
        elif outcome.left or outcome.waits:
            why = "waits for an answer of yours" if outcome.waits else "may go on"
            errors.print(f"The run {why}: stoa runs follow {outcome.run_id}", style="yellow", markup=False)
        else:
            tell_end(outcome, None if begun is None else time.monotonic() - begun)
            if isinstance(outcome.terminal, RunFailedEvent) and outcome.terminal.data.error.retryable:
                out.print("The same message may succeed when it is sent once more.", style="dim")


def _read() -> str:
    """A line; Ctrl-C clears it. Raises EOFError."""
    with contextlib.suppress(ImportError):  # History and editing, if the system has them.
        import_module("readline")  # `input` uses it once it is there
    while True:
        try:
            sys.stdout.write("\n")
            return input("> ")
        except KeyboardInterrupt:
            out.print(f"\n{one_line('Ctrl-D or /exit leaves.')}", style="dim")
