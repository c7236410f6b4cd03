"""Calls the function `run` of untrusted code, inside the sandbox that this process was started in.

Only the standard library, and Python 3.9: an operator's sandbox has its own interpreter, which is given this file's
text. One line of JSON comes in (`code`, `input`, `spread`), one goes out (`result`, `failed` or `refused`).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

MESSAGE_CHARACTERS_MAX = 1_000


def main(confine: Callable[[float, int], None] | None = None) -> None:
    """`confine` drops the privileges of this process before the code is compiled. If it raises, no code is run."""
    answers = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    asked = json.loads(sys.stdin.buffer.readline())
    if confine is None:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        answer = _answer(asked)
    else:
        try:
            confine(asked["seconds"], asked["memory_bytes"])
        except BaseException as error:  # noqa: BLE001 — whatever it is, nothing may be run then
            answer = {"refused": _message(error)}
        else:
            answer = _answer(asked)
    _send(answers, answer)
    os._exit(0)


def _end_with_parent() -> None:
    """Ends when standard input is closed, which the parent keeps open."""
    while os.read(0, 64):
        pass
    os._exit(1)


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    try:
        space: dict[str, Any] = {"__name__": "code"}
        exec(compile(asked["code"], "<code>", "exec"), space)  # noqa: S102 — what this process is for
        run = space.get("run")
        if not callable(run):
            return {"failed": "It defines no function run."}
        result = run(**asked["input"]) if asked["spread"] else run(asked["input"])
        json.dumps(result, default=str, allow_nan=False)
        return {"result": result}
    except BaseException as error:  # noqa: BLE001 — whatever somebody else's code raises is its outcome
        return {"failed": _message(error) + _line(error)}


def _send(descriptor: int, answer: dict[str, Any]) -> None:
    text = memoryview(json.dumps(answer, default=str).encode() + b"\n")
    while text:
        text = text[os.write(descriptor, text) :]


def _message(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:MESSAGE_CHARACTERS_MAX]
    except BaseException:  # noqa: BLE001 — the same of its text
        return type(error).__name__


def _line(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return ""
    lines = [one.lineno for one in traceback.extract_tb(error.__traceback__) if one.filename == "<code>"]
    return f" (line {lines[-1]})" if lines else ""


if __name__ == "__main__":
    main()
