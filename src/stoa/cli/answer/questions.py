"""Approvals and questions of a run, answered at the terminal."""

import json
from typing import Any

from stoa.cli.asking import out
from stoa.cli.client import request
from stoa.cli.stream.errors import BadRequestError
from stoa.cli.stream.transport import Transport, path
from stoa.cli.text import one_line


class LeftOpen(Exception):
    """The person at the terminal wants to answer later."""


def pending(transport: Transport, run_id: str) -> list[dict[str, Any]]:
    """The pending requests of the run. Raises StoaError."""
    return list(transport.json(request("GET", path("/v1/runs/{}", run_id)))["data"].get("input_requests", []))


def answer(transport: Transport, run_id: str, asked: dict[str, Any]) -> None:
    """Asks the person and sends the answer. Raises LeftOpen, StoaError."""
    out.print(f"\n{asked['prompt']}", style="bold yellow", markup=False)
    try:
        data = _approval(asked) if asked["type"] == "approval_request" else _feedback(asked)
    except (EOFError, KeyboardInterrupt) as error:
        out.print()
        raise LeftOpen from error
    try:
        send(transport, run_id, asked, data)
    except BadRequestError as error:
        if asked["id"] in [one["id"] for one in pending(transport, run_id)]:
            raise
        out.print(f"Somebody has answered it elsewhere ({error.message}).", style="dim", markup=False)


def send(transport: Transport, run_id: str, asked: dict[str, Any], data: dict[str, Any]) -> None:
    """Sends an answer. Raises StoaError."""
    kind = "approval" if asked["type"] == "approval_request" else "human_feedback"
    body = {"type": kind, "data": {"request_id": asked["id"], **data}}
    transport.json(request("POST", path("/v1/runs/{}/input", run_id), body))


def _approval(asked: dict[str, Any]) -> dict[str, Any]:
    params, editable = asked.get("params", {}), asked.get("editable_params", [])
    for name, value in params.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        out.print(f"  {name}: {one_line(shown, 200)}", markup=False)
    choices = "[y]es, [n]o" + (", [e]dit" if editable else "")
    while True:
        typed = input(f"Approve? {choices}: ").strip().lower()
        if typed in ("y", "yes"):
            return {"approved": True}
        if typed in ("n", "no"):
            feedback = input("Why not? (Enter for no reason): ").strip()
            return {"approved": False, **({"feedback": feedback} if feedback else {})}
        if typed in ("e", "edit") and editable:
            return {"approved": True, "params": {name: _edited(name, params.get(name)) for name in editable}}


def _edited(name: str, value: Any) -> Any:
    """A new value as JSON, or as text if the old value was text. Enter keeps the old value."""
    typed = input(f"  {name} [{one_line(json.dumps(value, ensure_ascii=False), 60)}]: ")
    if not typed.strip():
        return value
    if isinstance(value, str):
        return typed
    try:
        return json.loads(typed)
    except ValueError:
        return typed


def _feedback(asked: dict[str, Any]) -> dict[str, Any]:
    options = asked.get("options") or []
    for number, option in enumerate(options, 1):
        out.print(f"  {number}. {option}", markup=False)
    while True:
        typed = input("Your answer: ").strip()
        if options and typed.isdecimal() and 1 <= int(typed) <= len(options):
            return {"feedback": options[int(typed) - 1]}
        if typed:
            return {"feedback": typed}
