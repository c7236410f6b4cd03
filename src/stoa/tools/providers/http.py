"""Tools that are HTTP endpoints."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp

from stoa.outbound import Outbound, refused
from stoa.outbound.client import BodyError, decoded, read_bounded
from stoa.outbound.describing import failure
from stoa.tools import rules
from stoa.tools.types import Call, CheckArguments, Definition, ToolKind, ToolResult

_ERROR_BYTES_MAX: Final = 2_000
SECRET_CHARACTERS_MAX: Final = 4_000


class HttpTool:
    """One endpoint.

    Arguments fill the URL's placeholders or go to their `places`; the others go into the query (GET, DELETE) or a JSON
    body.
    """

    kind = ToolKind.HTTP

    def __init__(
        self,
        definition: Definition,
        secrets: Mapping[str, str],
        session: aiohttp.ClientSession,
        outbound: Outbound,
        check: CheckArguments,
    ) -> None:
        self._check = check
        self._definition = definition
        self._secrets = secrets
        self._session = session
        self._outbound = outbound
        self.name = definition.name
        self.description = definition.description
        self.parameters: Mapping[str, Any] = definition.config["parameters"]
        self.idempotent = bool(definition.idempotent)
        self.approval = definition.approval
        self.editable_params: Sequence[str] = definition.editable_params

    async def call(self, arguments: Mapping[str, Any], call: Call) -> ToolResult:
        if problem := await self._check(arguments, self.parameters):
            return ToolResult(f"The arguments do not fit: {problem}", "tool_bad_arguments")
        places = self._definition.config.get("places")
        if problem := rules.path_problem(self._definition.config["url"], arguments, places):
            return ToolResult(f"The arguments do not fit: {problem}", "tool_bad_arguments")
        url, rest = rules.filled(self._definition.config["url"], arguments, places)
        try:
            async with asyncio.timeout(self._definition.timeout_seconds):
                return await self._exchange(url, rest, call)
        except TimeoutError:
            return ToolResult(f"No answer came within {self._definition.timeout_seconds:g} seconds.", "tool_timeout")
        except BodyError as error:
            return ToolResult(f"The service's answer {error}.", "tool_failed")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            code = "tool_address_refused" if refused(error) else "tool_unreachable"
            return ToolResult(failure(error, url), code)

    async def _exchange(self, url: str, rest: dict[str, Any], call: Call) -> ToolResult:
        config, method, places = (
            self._definition.config,
            self._definition.config["method"],
            self._definition.config.get("places", {}),
        )
        headers = {name: rules.revealed(value, self._secrets) for name, value in config.get("headers", {}).items()}
        query = [(name, rules.revealed(value, self._secrets)) for name, value in config.get("query", {}).items()]
        given, rest = rules.placed(rest, places, "header")
        headers = {**dict(given), **headers}  # The model cannot change a definition's own headers.
        given, rest = rules.placed(rest, places, "query")
        query += given
        if method in ("GET", "DELETE") and not any(places.get(name, {}).get("in") == "body" for name in rest):
            query, body = query + rules.as_query(rest), {}
        else:
            body = _body(rest, places, whole="places" not in config)
        if method != "GET":
            headers["Idempotency-Key"] = call.key
        tls = (await self._outbound.trusting(config.get("ca_bundle"))).tls()
        async with self._session.request(
            method, url, headers=headers, params=query, allow_redirects=False, ssl=tls, **body
        ) as response:
            bytes_max = self._definition.output_bytes_max if response.status < 300 else _ERROR_BYTES_MAX
            content = await read_bounded(
                response, bytes_max + SECRET_CHARACTERS_MAX
            )  # Secrets are removed before the text is truncated, which could cut one in two.
            text = decoded(content, response)
            text = rules.limited(rules.without_secrets(text, self._secrets), bytes_max)
        if response.status < 300:
            return ToolResult(text)
        if response.status < 400:
            return ToolResult(
                f"The service answered {response.status}: it wants the call elsewhere, and redirects are not followed.",
                "tool_refused",
            )
        code = "tool_refused" if response.status < 500 else "tool_failed"
        return ToolResult(f"The service answered {response.status}: {text}", code)


def _body(rest: Mapping[str, Any], places: Mapping[str, Mapping[str, Any]], *, whole: bool) -> dict[str, Any]:
    """The request's body: the body argument, or the remaining arguments as a JSON object (`whole`: even if there are
    none).
    """
    for name, value in rest.items():
        place = places.get(name, {})
        if place.get("in") == "body":
            if place.get("encoding") == "form":
                return {"data": rules.as_form(value if isinstance(value, dict) else {name: value})}
            if place.get("encoding") == "text":
                return {"data": rules.plain(value)}
            return {"data": aiohttp.JsonPayload(value)}  # Not `json`, which sends nothing for None.
    return {"json": rest} if whole or rest else {}
