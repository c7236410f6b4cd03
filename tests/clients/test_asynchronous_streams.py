"""Every case of clients/cases/streams.yaml, with the asynchronous Python client."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from stoa_client import AsyncStoa, RetryPolicy, StoaError
from tests.support.client_cases import Told, cases, check, told
from tests.support.client_results import KEY, change_of, error_of, nothing
from tests.support.running import NO_AUTHORITIES
from tests.support.scripted_stoa import CONVERSATION_ID, RUN_ID, ScriptedStoa


async def result(one: Told, http: httpx.AsyncClient) -> dict[str, Any]:
    found, started = nothing(), time.monotonic()
    stoa = AsyncStoa(one.url, KEY, retries=RetryPolicy(**one.policy), http=http)
    try:
        if one.via == "send":
            stream = await stoa.send(CONVERSATION_ID, "Hi")
        else:
            stream = await stoa.runs.stream(RUN_ID, after_sequence=one.after or None)
        async with stream:
            try:
                async for event in stream:
                    found["events"].append(event.raw)
                    if (change := stream.last_change) is not None:
                        found["changes"].append(change_of(change))
            finally:
                found |= {"text": stream.text, "verified": stream.verified}
            try:
                found["output"] = await stream.output()
            except StoaError as error:
                found["output_error"] = error_of(error)
    except StoaError as error:
        found["error"] = error_of(error)
    return found | {"seconds": time.monotonic() - started}


@pytest.mark.parametrize("case", cases(), ids=[case["name"] for case in cases()])
async def test_case(scripted: ScriptedStoa, case: dict[str, Any]) -> None:
    async with httpx.AsyncClient(verify=NO_AUTHORITIES) as http, asyncio.timeout(100):
        for one in told(scripted, case):
            check(one, await result(one, http))
