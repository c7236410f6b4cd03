"""Every case of clients/cases/streams.yaml, with the stream that the command line carries."""

import time
from typing import Any

import pytest

from stoa.cli.stream.errors import StoaError
from stoa.cli.stream.follow import Follower
from stoa.cli.stream.retry import RetryPolicy
from stoa.cli.stream.stream import open_stream
from stoa.cli.stream.transport import EVENT_STREAM, Call, Transport, path
from tests.support.client_cases import Told, cases, check, told
from tests.support.client_results import KEY, change_of, error_of, nothing
from tests.support.scripted_stoa import CONVERSATION_ID, RUN_ID, ScriptedStoa


def call_of(one: Told) -> tuple[Call, Follower]:
    headers = {"Accept": EVENT_STREAM}
    if one.via == "send":
        headers |= {"Content-Type": "application/json", "Idempotency-Key": "once"}
        return Call(
            "POST", path("/v3/conversations/{}/messages", CONVERSATION_ID), body=b"{}", headers=headers
        ), Follower()
    if one.after:
        headers["Last-Event-ID"] = str(one.after)
    return Call("GET", path("/v1/runs/{}/stream", RUN_ID), headers=headers), Follower(after=one.after, run_id=RUN_ID)


def result(one: Told) -> dict[str, Any]:
    found, started = nothing(), time.monotonic()
    call, follower = call_of(one)
    try:
        with open_stream(Transport(one.url, KEY, RetryPolicy(**one.policy)), call, follower) as stream:
            try:
                for event in stream:
                    found["events"].append(event.raw)
                    if (change := stream.last_change) is not None:
                        found["changes"].append(change_of(change))
            finally:
                found |= {"text": stream.text, "verified": stream.verified}
            try:
                found["output"] = stream.output()
            except StoaError as error:
                found["output_error"] = error_of(error)
    except StoaError as error:
        found["error"] = error_of(error)
    return found | {"seconds": time.monotonic() - started}


@pytest.mark.parametrize("case", cases(), ids=[case["name"] for case in cases()])
def test_case(scripted: ScriptedStoa, case: dict[str, Any]) -> None:
    for one in told(scripted, case, step=29):
        check(one, result(one))
