"""schemathesis on the OpenAPI document: what the document promises is what the server does, for inputs nobody thought
of."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import FIRST_KEY, Running

EXAMPLES_MAX = 12


@pytest.mark.timeout(240)
@pytest.mark.parametrize("host", ["api", "kb"])
async def test_the_document_is_true(shared_server: Running, tmp_path: Path, host: str) -> None:
    """In a process of its own: it is a synchronous client, and this process serves."""
    root = shared_server.url
    if host == "kb":
        root = (await shared_server.call("POST", "/v1/knowledgebases", 201, json={"name": "Documented"}))["data"]["url"]
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        "run",
        f"{root}/openapi.json",
        "--header",
        f"Authorization: Bearer {FIRST_KEY}",
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        str(EXAMPLES_MAX),
        "--seed",
        "20261123",
        "--workers",
        "2",
        "--request-timeout",
        "20",
        "--checks",
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        "--no-color",
        # Made keys could revoke the one that this test speaks with, and made-up addresses could be somebody's: a test
        # speaks to this machine alone.
        # Every route of both is in the table of refusals.
        "--exclude-path-regex",
        "access-keys|connections|/v1/tools|sources",
    ]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, env={**os.environ}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(220):
        said, _ = await process.communicate()
    text = said.decode()
    # Its exit status also counts requests that a crowded machine let time out; what the document got wrong stands under
    # "Failures".
    assert "Failures:" not in text, text[-8_000:]
    assert process.returncode == 0 or re.search(r"Tested: [3-9]\d" if host == "api" else r"Tested: \d", text), text[
        -8_000:
    ]
