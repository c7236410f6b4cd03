"""Holds a server against its OpenAPI document with the cases that schemathesis makes of it: for each parameter and each
field the values at its bounds, and those beyond them.

The cases are sent on this process's own loop, which takes a third of what the program `schemathesis` takes for them.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import requests
import schemathesis.openapi
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig, SchemathesisConfig
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.transport import Response
from schemathesis.generation.modes import GenerationMode
from schemathesis.resources import record_delete_attempt, record_interaction
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.plain_http import PlainClient

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
REQUEST = {"method", "url", "headers", "params", "json", "data", "files", "cookies"}
"""What a request is made of, of all that a transport of schemathesis takes."""
ANSWER_SECONDS_MAX = 20.0
# Other methods on the same paths are in the table of refusals; here they would be a sixth of all requests.
CONFIG = {"phases": {"coverage": {"unexpected-methods": []}}}


@dataclass
class Conformance:
    """What was asked, and what the document does not say of the answers."""

    answered: int = 0
    unanswered: list[str] = field(default_factory=list)
    """Requests that a crowded machine let time out."""
    untrue: list[str] = field(default_factory=list)


async def conformance(root: str, authorization: str, document: dict[str, Any], excluded: str) -> Conformance:
    """`excluded` is a pattern of paths that are not asked."""
    schema = schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_dict(CONFIG))
    operations = [one.ok() for one in schema.get_all_operations()]
    found = Conformance()
    async with PlainClient(root) as client:
        for operation in in_order(one for one in operations if not re.search(excluded, one.path)):
            for case in cases(schema, operation):
                try:
                    answer = await sent(client, root, authorization, case)
                except (OSError, EOFError) as error:
                    found.unanswered.append(f"{operation.label}: {error!r}")
                    continue
                found.answered += 1
                try:
                    case.validate_response(answer, checks=CHECKS)
                except (Failure, FailureGroup) as failure:
                    found.untrue.append(f"{operation.label}: {failure}")
    print("ANSWERED", found.answered, len(found.unanswered), found.unanswered[:5])
    return found


def in_order(operations: Iterable[Any]) -> list[Any]:
    """What makes things comes before what needs their ids, and what deletes them last."""
    return sorted(operations, key=lambda one: (one.method == "delete", one.path.count("{"), one.method != "post"))


def cases(schema: Any, operation: Any) -> Iterator[Any]:
    """Those of one operation; ids are those of things that earlier answers have named, where there are any."""
    return schema.iter_coverage_cases(
        operation,
        generation_modes=list(GenerationMode),
        generation_config=GenerationConfig(),
        extra_data_source=schema.create_extra_data_source(),
    )


async def sent(client: PlainClient, root: str, authorization: str, case: Any) -> Response:
    parts = case.as_transport_kwargs(base_url=root, headers={"Authorization": authorization})
    prepared = requests.Request(**{name: value for name, value in parts.items() if name in REQUEST}).prepare()
    headers = [(name.encode(), raw(value)) for name, value in prepared.headers.items()]
    method, body = str(prepared.method), prepared.body or b""
    content = body if isinstance(body, bytes) else body.encode()
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        answer = await client.request(method, prepared.path_url, headers, content)
    response = Response(
        answer.status, answer.headers, answer.content, prepared, elapsed=0.0, verify=False, message=answer.reason
    )
    pool = case.operation.schema.create_extra_data_source()
    if pool is not None:
        record_interaction(pool, case, response)
        if method == "DELETE":
            record_delete_attempt(pool, case, answer.status)
    return response


def raw(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")
