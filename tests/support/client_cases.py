"""The cases of clients/cases/, and the result that each client must have."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.scripted_stoa import RUN_ID, Journal, Play, ScriptedStoa

ROOT: Final = Path(__file__).parents[2]
CASES: Final = ROOT / "clients" / "cases"
JAVASCRIPT: Final = ROOT / "clients" / "javascript"
POLICY: Final = {"first_seconds": 0.001, "seconds_max": 0.01, "reconnect_seconds": 20.0, "idle_seconds": 10.0}
"""Short waits, so that a thousand disconnects take no time."""


WORDS: Final = {
    *("name", "run", "via", "after", "policy", "faults", "every_byte", "step", "with"),
    *(
        "sequences",
        "text",
        "changes",
        "verified",
        "error",
        "output",
        "runs_made",
        "one_key",
        "connections",
        "requests",
        "seconds_min",
    ),
}
"""What may stand in a case."""


@cache
def document() -> dict[str, Any]:
    return yaml.load((CASES / "streams.yaml").read_text("utf-8"), yaml.CSafeLoader)


def cases() -> list[dict[str, Any]]:
    found = document()["cases"]
    assert all(set(case) <= WORDS for case in found), [set(case) - WORDS for case in found if set(case) - WORDS]
    assert len({case["name"] for case in found}) == len(found), "two cases of one name"
    return found


@dataclass
class Told:
    """The instructions for a client, and its server."""

    url: str
    via: str
    after: int
    policy: dict[str, Any]
    play: Play
    case: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {"url": self.url, "via": self.via, "after": self.after, "policy": self.policy, "run_id": RUN_ID}


def told(server: ScriptedStoa, case: dict[str, Any], *, step: int = 1) -> Iterator[Told]:
    """One case, or a case for each byte; for each `step`-th byte where the same code was tested at all of them
    already."""
    run = document()["runs"][case["run"]]
    several: list[list[dict[str, Any]]] = [case.get("faults", [])]
    if how := case.get("every_byte"):
        fault = case.get("with", {})
        journal = Journal.of(run)
        length = sum(len(journal.frame(event["sequence"], fault)) for event in journal.events)
        several = [[{**fault, "cut": cut, "end": how}, fault] for cut in range(0, length, case.get("step", 1) * step)]
    for faults in several:
        url, play = server.play(run, faults)
        yield Told(url, case.get("via", "send"), case.get("after", 0), POLICY | case.get("policy", {}), play, case)


def check(one: Told, result: dict[str, Any]) -> None:
    """`result`: events, text, changes, verified, error, output, output_error, seconds."""
    case, journal = one.case, one.play.journal
    where = f"{case['name']}: {one.play.faults}"
    wanted = case.get("sequences", [event["sequence"] for event in journal.events])
    assert [event["sequence"] for event in result["events"]] == wanted, (where, result["error"])
    assert result["events"] == [journal.events[sequence - 1] for sequence in wanted], where
    assert _fits(result["error"], case.get("error")), (where, result["error"])
    assert result["verified"] is case.get("verified", True), where
    if "error" not in case:
        text = case.get("text", document()["runs"][case["run"]]["text"])
        text = journal.events[-1]["data"]["output"] if text is None else text
        assert result["text"] == text, where
        assert "".join(delta for delta, _, _ in result["changes"]).endswith(text[-5:]), where
        if "output" in case:
            assert _fits(result["output_error"], case["output"]), (where, result["output_error"])
        else:
            assert result["output"] == journal.events[-1]["data"]["output"], (where, result["output_error"])
    if "changes" in case:
        assert result["changes"] == case["changes"], where
    assert len(one.play.keys) == case.get("runs_made", 1), (where, "runs made")
    if "connections" in case:
        assert len(one.play.requests) == case["connections"], (where, [request.path for request in one.play.requests])
    if case.get("one_key"):
        posts = [request for request in one.play.requests if request.method == "POST"]
        assert len({request.headers["idempotency-key"] for request in posts}) == 1, where
    for request, meant in zip(one.play.requests, case.get("requests", []), strict=False):
        assert request.method == meant["method"], where
        assert request.headers.get("last-event-id") == meant.get("last_event_id"), where
    assert result["seconds"] >= case.get("seconds_min", 0), where
    assert all("x" * 20 in request.headers["authorization"] for request in one.play.requests), where


def _fits(found: dict[str, Any] | None, wanted: dict[str, Any] | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return all(found.get(name) == value for name, value in wanted.items())
