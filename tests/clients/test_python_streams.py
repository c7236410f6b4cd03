"""Every case of clients/cases/streams.yaml, with the synchronous Python client; it is written from the asynchronous
one, which is cut at more bytes."""

import time
from typing import Any

import httpx
import pytest

from stoa_client import RetryPolicy, Stoa, StoaError
from tests.support.client_cases import Told, cases, check, told
from tests.support.client_results import KEY, change_of, error_of, nothing
from tests.support.running import NO_AUTHORITIES
from tests.support.scripted_stoa import CONVERSATION_ID, RUN_ID, ScriptedStoa


def result(one: Told, http: httpx.Client) -> dict[str, Any]:
    found, started = nothing(), time.monotonic()
    stoa = Stoa(one.url, KEY, retries=RetryPolicy(**one.policy), http=http)
    try:
        if one.via == "send":
            stream = stoa.send(CONVERSATION_ID, "Hi")
        else:
            stream = stoa.runs.stream(RUN_ID, after_sequence=one.after or None)
        with stream:
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
    with httpx.Client(verify=NO_AUTHORITIES) as http:
        for one in told(scripted, case, step=7):
            check(one, result(one, http))
