"""Every case of clients/cases/streams.yaml, with the synchronous, the asynchronous and the JavaScript client."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from stoa_client import AsyncStoa, RetryPolicy, Stoa, StoaError
from stoa_client.follow import TextChange
from tests.support.client_cases import Told, cases, check, told
from tests.support.javascript import node
from tests.support.scripted_stoa import CONVERSATION_ID, RUN_ID, ScriptedStoa

KEY = "stoa_acc_" + "x" * 64
ERROR_FIELDS = (
    "status",
    "code",
    "details",
    "retry_after",
    "sequence",
    "expected",
    "received",
    "active_run_id",
    "retryable",
    "reason",
)
NAMES = [case["name"] for case in cases()]


def error_of(error: StoaError) -> dict[str, Any]:
    fields = {name: getattr(error, name) for name in ERROR_FIELDS if hasattr(error, name)}
    return {"kind": type(error).__name__, **fields}


def change_of(change: TextChange) -> list[str]:
    return [change.delta, change.text, change.discarded]


def sync_result(one: Told, http: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = {
        "events": [],
        "changes": [],
        "text": "",
        "verified": None,
        "error": None,
        "output": None,
        "output_error": None,
    }
    started = time.monotonic()
    stoa = Stoa(one.url, KEY, retries=RetryPolicy(**one.policy), http=http)
    try:
        stream = (
            stoa.send(CONVERSATION_ID, "Hi")
            if one.via == "send"
            else stoa.runs.stream(RUN_ID, after_sequence=one.after or None)
        )
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


async def async_result(one: Told, http: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = {
        "events": [],
        "changes": [],
        "text": "",
        "verified": None,
        "error": None,
        "output": None,
        "output_error": None,
    }
    started = time.monotonic()
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


@pytest.mark.parametrize("case", cases(), ids=NAMES)
def test_python(scripted: ScriptedStoa, case: dict[str, Any]) -> None:
    with httpx.Client() as http:
        for one in told(scripted, case):
            check(one, sync_result(one, http))


@pytest.mark.parametrize("case", cases(), ids=NAMES)
async def test_asynchronous_python(scripted: ScriptedStoa, case: dict[str, Any]) -> None:
    async with httpx.AsyncClient() as http, asyncio.timeout(100):
        for one in told(scripted, case):
            check(one, await async_result(one, http))


@pytest.fixture(scope="module")
def javascript(scripted: ScriptedStoa) -> Callable[[str], list[tuple[Told, dict[str, Any]]]]:
    """What the JavaScript client came to, by the case's name; one process for all."""
    plays = {case["name"]: list(told(scripted, case)) for case in cases()}
    flat = [one for several in plays.values() for one in several]
    results = node("run_cases.mjs", [one.as_json() for one in flat])
    by_url = dict(zip((one.url for one in flat), map(json.loads, results), strict=True))
    return lambda name: [(one, by_url[one.url]) for one in plays[name]]


@pytest.mark.parametrize("name", NAMES)
def test_javascript(javascript: Callable[[str], list[tuple[Told, dict[str, Any]]]], name: str) -> None:
    for one, result in javascript(name):
        check(one, result)
