#!/usr/bin/env python3
"""Writes docs/run-states.md from the table in stoa.runs.rules: `python tools/docs/run_states.py >
docs/run-states.md`."""

from stoa.kernel.leases import RUN
from stoa.runs.rules import ACTIVE, MOVES
from stoa.runs.types import RunStatus

MEANING = {
    RunStatus.CREATED: "stored with its message; no node carries it yet",
    RunStatus.STARTED: "a node carries it: `run.started` is in its journal",
    RunStatus.PAUSED: "waits for people: no task and no memory is held, any node takes it up again",
    RunStatus.COMPLETED: "the answer is complete",
    RunStatus.FAILED: "it ended with an error; what was said up to there is kept",
    RunStatus.CANCELED: "somebody ended it; what was said up to there is kept",
}


def page() -> str:
    lines = [
        "# The states of a run",
        "",
        (
            "Written by `python tools/docs/run_states.py` from the table `MOVES` in `stoa.runs.rules`; a test keeps it "
            "current."
        ),
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> created",
        *(f"    {before} --> {after}" for before, moves in MOVES.items() for after in sorted(moves)),
        *(f"    {state} --> [*]" for state, moves in MOVES.items() if not moves),
        "```",
        "",
        "| status | means | may become |",
        "|---|---|---|",
        *(
            f"| `{state}` | {MEANING[state]} | "
            f"{', '.join(f'`{after}`' for after in sorted(MOVES[state])) or 'nothing: its journal is sealed'} |"
            for state in MOVES
        ),
        "",
        (
            f"A conversation has at most one run that is {', '.join(sorted(f'`{state}`' for state in ACTIVE))}. A node "
            f"that carries runs renews its lease every second;"
        ),
        (
            f"one that has not for {RUN.seconds:g} seconds, or whose process is gone, loses them to any other node, "
            f"which goes on from the last completed step with"
        ),
        (
            f"`run.recovered`. A run that has lost its node {RUN.attempts_max} times ends as `failed` with the code "
            f"`attempts_exhausted`."
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
