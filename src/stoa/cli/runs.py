"""`stoa runs`: active and ended runs, over the server's public HTTP API."""

import json
import sys
from typing import Annotated, Any

import typer

from stoa.cli.answer import questions
from stoa.cli.answer.following import tell_end
from stoa.cli.asking import HERE, All, Exit, Json, Key, Limit, Url, ask, ask_all, fail, out, refused, server
from stoa.cli.stream.errors import StoaError
from stoa.cli.tables import Columns, print_table, show_list, show_one
from stoa.cli.talking import exit_code, follow_run, on_terminal
from stoa.cli.text import one_line

app = typer.Typer(no_args_is_help=True, help="Runs: each answer, its events, and the questions that it asks.")
Run = Annotated[str, typer.Argument(help="The run's id, from `stoa runs list`.")]


@app.command("list")
def list_runs(
    status: Annotated[
        list[str] | None,
        typer.Option(help="created, started, paused, completed, failed, canceled or awaiting_input. Repeat it."),
    ] = None,
    limit: Limit = 25,
    everything: All = False,
    as_json: Json = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """List runs, the newest first.

    [dim]Example:[/] stoa runs list --status awaiting_input
    """
    query = "&".join(f"status={one}" for one in status or [])
    columns: Columns = {
        "id": "id",
        "status": "status",
        "tokens": "usage.total_tokens",
        "usd": "usage.cost_usd",
        "attempt": "attempt",
        "created": "created_at",
        "ended": "ended_at",
        "error": lambda one: one_line(one.get("error", {}).get("message", "")),
    }
    found = ask_all(url, key, f"/v1/runs?{query}" if query else "/v1/runs", None if everything else limit)
    show_list(found, columns, as_json=as_json, nothing="There are no such runs.")


@app.command("show")
def show(run: Run, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """Show a run: its state, its answer, its cost, and what it waits for."""
    found = ask("GET", url, key, f"/v1/runs/{run}")["data"]
    usage = [f"usage.{name}" for name in found.get("usage", {})]
    plain = [name for name, value in found.items() if name != "output" and not isinstance(value, dict | list)]
    show_one(found, as_json=as_json, fields=[*plain, "error.code", "error.message", *usage])
    if not as_json:
        for asked in found["input_requests"]:
            out.print(f"\nwaits for an answer ({asked['id']}): {asked['prompt']}", style="yellow", markup=False)
        if found.get("output"):
            out.print(f"\n{found['output']}", markup=False)


@app.command("events")
def events(run: Run, url: Url = HERE, key: Key = None) -> None:
    """Print a run's stored events as JSON lines.

    [dim]Example:[/] stoa runs events RUN | jq -r .type
    """
    for event in ask_all(url, key, f"/v1/runs/{run}/events"):
        sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


@app.command("follow")
def follow(run: Run, url: Url = HERE, key: Key = None) -> None:
    """Read a run's answer from its beginning, and go on as it is written. Ctrl-C stops the run."""
    outcome = follow_run(server(url, key), run)
    if on_terminal():
        tell_end(outcome)
    if (code := exit_code(outcome)) is not Exit.DONE:
        raise typer.Exit(int(code))


@app.command("tool-calls")
def tool_calls(run: Run, as_json: Json = False, url: Url = HERE, key: Key = None) -> None:
    """List the calls of tools that a run made, from the ledger."""
    columns: Columns = {
        "tool": "name",
        "status": "status",
        "times": "times",
        "input": lambda one: one_line(json.dumps(one["input"], ensure_ascii=False)),
        "result": lambda one: one_line(one.get("result") or one.get("error", {}).get("message", "")),
        "begun": "begun_at",
    }
    found = ask("GET", url, key, f"/v1/runs/{run}/tool-calls")["data"]
    show_list(found, columns, as_json=as_json, nothing="It called no tools.")


@app.command("cancel")
def cancel(run: Run, url: Url = HERE, key: Key = None) -> None:
    """Stop a run. What it said is kept."""
    out.print(ask("POST", url, key, f"/v1/runs/{run}/cancel")["message"], markup=False)


@app.command("answer")
def answer(
    run: Run,
    said: Annotated[
        str | None, typer.Argument(help="The answer to a question. \\[default: asked for]", show_default=False)
    ] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Approve the call.")] = False,
    decline: Annotated[bool, typer.Option("--decline", help="Decline the call; the text is the reason.")] = False,
    request_id: Annotated[
        str | None, typer.Option("--request", help="Which question. \\[default: the only one]", show_default=False)
    ] = None,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """Answer what a run waits for: a question with a text, an approval with --approve or --decline.

    [dim]Examples:[/]

        stoa runs answer RUN "The window seat"
        stoa runs answer RUN --decline "Too expensive"
    """
    if approve and decline:
        raise fail("Either --approve or --decline.", Exit.USED_WRONGLY)
    transport = server(url, key)
    try:
        asked = _which(questions.pending(transport, run), run, request_id)
        if asked["type"] == "approval_request" and (approve or decline):
            feedback = {"feedback": said} if said else {}
            questions.send(transport, run, asked, {"approved": approve, **feedback})
        elif asked["type"] == "human_feedback" and said:
            questions.send(transport, run, asked, {"feedback": said})
        elif sys.stdin.isatty():
            questions.answer(transport, run, asked)
        else:
            missing = "--approve or --decline" if asked["type"] == "approval_request" else "the answer"
            raise fail(f"It asks: {asked['prompt']} Give {missing}.", Exit.USED_WRONGLY)
    except questions.LeftOpen as error:
        raise typer.Exit(int(Exit.INTERRUPTED)) from error
    except StoaError as error:
        raise refused(error) from error
    out.print(f"answered; it goes on: stoa runs follow {run}", markup=False)


def _which(asked: list[dict[str, Any]], run: str, request_id: str | None) -> dict[str, Any]:
    chosen = [one for one in asked if request_id in (None, one["id"])]
    if not chosen:
        raise fail(f"Run {run} waits for no {'such ' if request_id else ''}answer.")
    if len(chosen) > 1:
        print_table(("request", "asks"), [(one["id"], one["prompt"]) for one in chosen])
        raise fail("It waits for several answers; name one with --request.")
    return chosen[0]
