"""One MCP session over the official SDK.

Importing this module imports the SDK: `sessions` does it when it is needed.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Final

import mcp_types as types
from mcp import Client, MCPError
from pydantic import TypeAdapter, ValidationError

from stoa.outbound import Outbound
from stoa.tools.providers.mcp import content, endpoint, program
from stoa.tools.providers.mcp.failures import Failure, SessionLost
from stoa.tools.providers.mcp.lenient import lenient, said
from stoa.tools.providers.mcp.messages import session_lost
from stoa.tools.types import Listing, Offer, Program, ToolResult

PAGES_MAX: Final = content.TOOLS_MAX
"""Pages of a list: some servers send one tool a page."""
CLOSE_SECONDS_MAX: Final = 6.0
SESSION_NOT_FOUND: Final = -32001
"""The code of the SDKs' servers."""
_UNANSWERED: Final = "SSE stream ended without a response"
"""What the SDK says of it."""
KEY: Final = "stoa/idempotency-key"
"""The idempotency key in a call's `_meta`, which is the same when the call is repeated."""
_CLIENT: Final = types.Implementation(name="stoa", version="1")
_RESULT: Final[TypeAdapter[Any]] = TypeAdapter(dict[str, Any])

Opened = AbstractAsyncContextManager[Any]


class Session:
    """The SDK's client runs in its own task from opening to close; `over` once that task has ended."""

    def __init__(self, speak: Callable[["Session"], Opened]) -> None:
        self._speak = speak
        self._client: Client | None = None
        self._leave = asyncio.Event()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self.hurried = False
        self.reason: str | None = None
        self.outdated = False
        self.forgotten = False
        """The server does not know this session any more. Calls that it took before may still end."""
        self._in_flight = 0

    @property
    def over(self) -> bool:
        return self.forgotten or self._leave.is_set() or self._task is None or self._task.done()

    async def start(self, seconds_max: float) -> None:
        """Raises Failure. Cleans up when it fails or is cancelled."""
        self._task = asyncio.create_task(self._live(), name="tools.mcp.session")
        try:
            async with asyncio.timeout(seconds_max):
                await asyncio.shield(self._ready)
        except TimeoutError:
            await self.close("The MCP server did not open a session in time.")
            raise Failure(
                "tool_unreachable", f"The MCP server did not open a session within {seconds_max:g} seconds."
            ) from None
        except BaseException:
            await self.close(self.reason or "The session was not opened.")
            raise

    def ended(self, reason: str) -> None:
        """Called by the transport when the connection has ended."""
        self.hurried = True
        self.reason = self.reason or f"The MCP server {reason}."
        self._leave.set()

    async def close(self, reason: str | None = None) -> None:
        if reason is not None:
            self.hurried = True
            self.reason = self.reason or reason
        self._leave.set()
        if self._task is None or self._task.done():
            return
        if not self._ready.done():  # It is still being opened, so the task does not wait for the close event yet.
            self._task.cancel()
        await asyncio.wait([self._task], timeout=CLOSE_SECONDS_MAX)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CLOSE_SECONDS_MAX)

    async def _live(self) -> None:
        try:
            async with Client(
                lenient(self._speak(self)), mode="auto", cache=None, client_info=_CLIENT, message_handler=self._heard
            ) as client:
                self._client = client
                self._ready.set_result(None)
                await self._leave.wait()
        except asyncio.CancelledError:
            self._leave.set()
            if not self._ready.done():
                self._ready.set_exception(Failure("tool_unreachable", self.reason or "The session was not opened."))
                self._ready.exception()
            raise
        except Exception as error:  # noqa: BLE001 — somebody else's server, and whatever the SDK makes of it: an outcome
            self._leave.set()
            failure = self._failure(error)
            self.reason = self.reason or failure.message
            if not self._ready.done():
                self._ready.set_exception(failure)
                self._ready.exception()
        finally:
            self._client = None

    async def _heard(self, message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self.outdated = True

    # --- what it is for ---------------------------------------------------------------------------------------------
    async def list(self) -> Listing:
        self.outdated = False
        offers: dict[str, Offer] = {}
        left_out: list[str] = []
        room = content.LISTING_BYTES_MAX
        async with aclosing(self._tools(left_out)) as tools:  # type: ignore[type-var]
            async for tool in tools:
                offer, problem = content.offer_of(tool)
                if offer is None:
                    left_out.append(f"{content.named(tool)} ({problem})")
                    continue
                room -= content.size_of(offer)
                if len(offers) == content.TOOLS_MAX or room < 0:
                    left_out.append(f"what comes after the first {len(offers)}")
                    break
                offers.setdefault(offer.name, offer)
        return Listing(
            list(offers.values()), f"Left out: {'; '.join(left_out[:20])}".replace("\0", "\ufffd") if left_out else None
        )

    async def _tools(self, left_out: "list[str]") -> AsyncIterator[Any]:
        """The server's tools. Parsed here and not by the SDK, which refuses the whole list for one bad tool."""
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(PAGES_MAX):
            params = types.PaginatedRequestParams(cursor=cursor) if cursor else None
            page = await self._asked(types.ListToolsRequest(params=params))
            found = page.get("tools")
            if not isinstance(found, list):
                raise Failure("tool_failed", "The MCP server answered with something that is no MCP (tools: no list).")
            for tool in found:
                yield tool
            following = page.get("nextCursor")
            if following is None or following == "":
                return
            cursor = following if isinstance(following, str) else json.dumps(following)
            if cursor in seen:  # The server goes round in a circle.
                return
            seen.add(cursor)
        left_out.append(f"what comes after the first {PAGES_MAX} pages")

    async def call(self, name: str, arguments: Mapping[str, Any], key: str) -> ToolResult:
        params = types.CallToolRequestParams(name=name, arguments=dict(arguments), _meta={KEY: key})  # pyright: ignore[reportArgumentType]
        # Not the SDK's `call_tool`, which evaluates the server's output schema and its regular expressions in our
        # process.
        raw = await self._asked(types.CallToolRequest(params=params))
        if raw.get("resultType") == "input_required":
            raise Failure("tool_failed", "The tool asks its user for input, which cannot be given here.")
        return content.result_of(raw)

    async def _asked(self, request: Any) -> Mapping[str, Any]:
        """The server's unvalidated response. Raises Failure."""
        client = self._open
        self._in_flight += 1
        try:
            return said(await client.session.send_request(request, _RESULT))
        except (MCPError, ValidationError, ValueError, RuntimeError) as error:
            raise self._failure(error) from error
        finally:
            self._in_flight -= 1
            if self.forgotten and not self._in_flight:
                self._leave.set()

    async def alive(self, seconds_max: float) -> bool:
        try:
            async with asyncio.timeout(seconds_max):
                await self._asked(types.ListToolsRequest())
        except (TimeoutError, Failure):
            return False
        return True

    @property
    def _open(self) -> Client:
        if self._client is None or self.over:
            raise SessionLost("tool_unreachable", self.reason or "The session with the MCP server is over.")
        return self._client

    def _failure(self, error: BaseException) -> Failure:
        """The failure as the model reads it."""
        if isinstance(error, BaseExceptionGroup):
            return self._failure(error.exceptions[0])
        if isinstance(error, Failure):
            return error
        if isinstance(error, MCPError):
            return self._refused(error)
        if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError):
            return Failure(
                "tool_unavailable",
                "The program of the MCP server cannot be started; its operator finds the reason in the log.",
            )
        if isinstance(error, OSError):
            return Failure("tool_unreachable", f"The MCP server cannot be reached: {type(error).__name__}.")
        what = type(error).__name__
        if isinstance(error, ValidationError):
            first = error.errors(include_input=False)[0]
            what = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
        return Failure("tool_failed", f"The MCP server answered with something that is no MCP ({what[:300]}).")

    def _refused(self, error: MCPError) -> Failure:
        data = error.error.data
        if isinstance(data, dict) and data.get(endpoint.CODE) == endpoint.FORGOTTEN:
            self.forgotten = True
            return SessionLost("tool_unreachable", error.error.message)
        if _says_that_the_session_is_lost(error.error):
            self.forgotten = True
            return SessionLost("tool_unreachable", f"The MCP server has forgotten this session: {error.error.message}")
        if isinstance(data, dict) and endpoint.CODE in data:
            return Failure(str(data[endpoint.CODE]), error.error.message)
        if error.error.code == types.CONNECTION_CLOSED and self.reason is not None:
            return Failure("tool_failed", self.reason)
        if error.error.message == _UNANSWERED:
            return Failure("tool_failed", "The MCP server closed the stream before it had answered.")
        return Failure("tool_failed", f"The MCP server answered with an error: {_one_line(error.error.message)}")


def _says_that_the_session_is_lost(error: Any) -> bool:
    """Of servers that answer 200 to everything. Other codes with such words may be about the tool's own sessions."""
    words = error.message.lower()
    return "server not initialized" in words or (error.code == SESSION_NOT_FOUND and session_lost(words.encode()))


def _one_line(message: str) -> str:
    """Without the pages that pydantic writes about an invalid message."""
    if message.startswith("Failed to parse"):
        return " ".join(message.partition("[type=")[0].split())[:300]
    return message[:2_000]


async def open_program(declared: Program, seconds_max: float) -> Session:
    session = Session(lambda session: program.speaking(declared, session.ended, lambda: session.hurried))
    await session.start(seconds_max)
    return session


async def open_endpoint(url: str, headers: Mapping[str, str], seconds_max: float, outbound: Outbound) -> Session:
    session = Session(lambda _: endpoint.speaking(url, headers, outbound))
    await session.start(seconds_max)
    return session
