"""The MCP sessions of this node: one for each server of each project, opened when it is needed, bounded, closed when it
is idle.

The protocol itself is the official SDK's; it costs half a second to import, so it is imported when the first session is
opened.
"""

import asyncio
import importlib
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar, cast
from uuid import UUID

import structlog

from stoa.kernel.supervise import Supervisor
from stoa.outbound import Outbound
from stoa.tools import rules
from stoa.tools.providers.mcp.failures import Failure, SessionLost
from stoa.tools.types import Definition, Listing, Program, ToolResult

SESSIONS_MAX: Final = 64
SESSIONS_OF_PROJECT_MAX: Final = 8
CONNECT_SECONDS_MAX: Final = 15.0
LIST_SECONDS_MAX: Final = 10.0
IDLE_SECONDS_MAX: Final = 300.0
SWEEP_SECONDS: Final = 15.0
PROBE_SECONDS_MAX: Final = 3.0
"""The time for a server to answer a probe after a call has timed out."""
BACKOFF_SECONDS: Final = 0.5
BACKOFF_SECONDS_MAX: Final = 60.0
PATIENCE_SECONDS: Final = 2.0
"""The longest backoff of a server that a call waits for; for a longer one it fails at once."""
_SECRETIVE: Final = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|KEY", re.IGNORECASE)
T = TypeVar("T")
_log = structlog.get_logger("stoa.tools.mcp")


class Session(Protocol):
    """One session with a server. `over`: it takes no more calls."""

    @property
    def over(self) -> bool: ...

    @property
    def outdated(self) -> bool:
        """Whether the server has said that its tools have changed."""
        ...

    async def list(self) -> Listing:
        """Raises Failure."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any], key: str) -> ToolResult:
        """Raises Failure. A cancelled call is cancelled at the server."""
        ...

    async def alive(self, seconds_max: float) -> bool: ...

    async def close(self, reason: str | None = None) -> None:
        """With a reason the session ends at once, and open calls fail with that reason; without one the server may shut
        down cleanly."""
        ...


class Openers(Protocol):
    """The functions of the module `session`. Both raise Failure."""

    async def open_program(self, program: Program, seconds_max: float) -> Session: ...

    async def open_endpoint(
        self, url: str, headers: Mapping[str, str], seconds_max: float, outbound: Outbound
    ) -> Session: ...


@dataclass(slots=True, eq=False)
class _Held:
    """The state of one server: its session, if there is one, and its recent failures."""

    project_id: UUID
    name: str
    session: Session | None = None
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    in_use: int = 0
    used_at: float = 0.0
    failures: int = 0
    not_before: float = 0.0


class Sessions:
    """Long-lived; `close` ends every session, and the programs with them."""

    def __init__(
        self,
        programs: Mapping[str, Program],
        *,
        outbound: Outbound,
        sessions_max: int = SESSIONS_MAX,
        sessions_of_project_max: int = SESSIONS_OF_PROJECT_MAX,
        connect_seconds_max: float = CONNECT_SECONDS_MAX,
        idle_seconds_max: float = IDLE_SECONDS_MAX,
        probe_seconds_max: float = PROBE_SECONDS_MAX,
    ) -> None:
        self._programs = programs
        self._outbound = outbound
        self._sessions_max = sessions_max
        self._sessions_of_project_max = sessions_of_project_max
        self._connect_seconds_max = connect_seconds_max
        self._idle_seconds_max = idle_seconds_max
        self._probe_seconds_max = probe_seconds_max
        self._held: dict[tuple[UUID, datetime], _Held] = {}
        """Keyed by definition and version: a run that still uses the version before keeps its server until that is
        idle."""
        self._supervisor = Supervisor()
        self._sweeping = False
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        await self._supervisor.stop()
        places = list(self._held.values())
        self._held.clear()
        await asyncio.gather(*(self._end(held) for held in places))

    def programs_of(self, project_id: UUID) -> list[str]:
        return [
            name
            for name, program in self._programs.items()
            if program.projects is None or project_id in program.projects
        ]

    def environment(self, definition: Definition) -> Mapping[str, str]:
        """The values of a program's environment that look like secrets."""
        program = self._programs.get(definition.config.get("server", ""))
        return (
            {name: value for name, value in program.env.items() if _SECRETIVE.search(name)}
            if program is not None
            else {}
        )

    def outdated(self, definition_id: UUID) -> bool:
        return any(
            key[0] == definition_id and held.session is not None and held.session.outdated
            for key, held in self._held.items()
        )

    # --- requests ---------------------------------------------------------------------------------------------------
    async def list(self, definition: Definition, secrets: Mapping[str, str]) -> Listing:
        """Raises Failure."""
        try:
            async with asyncio.timeout(self._connect_seconds_max + LIST_SECONDS_MAX):
                return await self._ask(definition, secrets, lambda session: session.list())
        except TimeoutError:
            self.suspect(definition)
            raise Failure("tool_timeout", "the server does not answer") from None

    async def call(
        self, definition: Definition, secrets: Mapping[str, str], name: str, arguments: Mapping[str, Any], key: str
    ) -> ToolResult:
        """Raises Failure."""
        return await self._ask(definition, secrets, lambda session: session.call(name, arguments, key))

    async def _ask(
        self, definition: Definition, secrets: Mapping[str, str], work: Callable[[Session], Awaitable[T]]
    ) -> T:
        """If the server does not know the session (it was restarted), retries with a new session."""
        try:
            async with self._session(definition, secrets) as session:
                return await work(session)
        except SessionLost:
            async with self._session(definition, secrets) as session:
                return await work(session)

    def suspect(self, definition: Definition) -> None:
        """After a timeout: a server that does not answer a probe is killed, and the next call restarts it."""
        held = self._held.get((definition.id, definition.updated_at))
        if held is not None and held.session is not None and not self._closed:
            self._supervisor.once(self._probe(held, held.session), f"probe {held.name}")

    async def _probe(self, held: _Held, session: Session) -> None:
        if not await session.alive(self._probe_seconds_max) and held.session is session:
            held.session = None
            self._failed(held, "it stopped answering")
            await session.close("The MCP server stopped answering; it was ended.")

    # --- sessions ---------------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def _session(self, definition: Definition, secrets: Mapping[str, str]) -> AsyncGenerator[Session]:
        held = self._place(definition)
        held.in_use += 1
        try:
            async with held.opening:
                if held.session is not None and held.session.over:
                    self._failed(held, "its session ended")
                    held.session = None
                if held.session is None:
                    await self._patience(held)
                    await self._make_room(held)
                    try:
                        held.session = await self._open(definition, secrets)
                    except Failure as failure:
                        self._failed(held, failure.message)
                        raise
                    except (
                        asyncio.CancelledError
                    ):  # The call timed out during the start: the next one waits for the backoff.
                        self._failed(held, "it did not open a session in a call's time")
                        raise
            yield held.session
            held.failures = 0
        finally:
            held.in_use -= 1
            held.used_at = asyncio.get_running_loop().time()

    def _place(self, definition: Definition) -> _Held:
        if self._closed:
            raise Failure("tool_unavailable", "This server is shutting down.")
        held = self._held.setdefault(
            (definition.id, definition.updated_at), _Held(definition.project_id, definition.name)
        )
        if not self._sweeping:
            self._sweeping = True
            self._supervisor.keep(self._sweep_forever, "tools.mcp.sweep")
        return held

    async def _patience(self, held: _Held) -> None:
        """Raises Failure if a failed server's backoff is longer than a call can wait."""
        left = held.not_before - asyncio.get_running_loop().time()
        if left > PATIENCE_SECONDS:
            raise Failure(
                "tool_unreachable", f"The MCP server {held.name} failed; it is tried again in {left:.0f} seconds."
            )
        if left > 0:
            await asyncio.sleep(left)

    def _failed(self, held: _Held, reason: str) -> None:
        held.failures += 1
        pause = min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS * 2 ** min(held.failures - 1, 10))
        held.not_before = asyncio.get_running_loop().time() + pause
        _log.warning(
            "an MCP server failed",
            server=held.name,
            project_id=str(held.project_id),
            reason=reason,
            failures=held.failures,
            pause_seconds=pause,
        )

    async def _make_room(self, wanting: _Held) -> None:
        """Closes the session that was idle longest if the maximum number is reached.

        Raises Failure if all are busy.
        """
        for bound, of_project in ((self._sessions_of_project_max, True), (self._sessions_max, False)):
            open_ones = [
                one
                for one in self._held.values()
                if one is not wanting
                and (one.session is not None or one.opening.locked())
                and (not of_project or one.project_id == wanting.project_id)
            ]
            if len(open_ones) < bound:
                continue
            idle = min(
                (one for one in open_ones if one.session is not None and not one.in_use),
                key=lambda one: one.used_at,
                default=None,
            )
            if idle is None:
                whose = "This project" if of_project else "This server"
                raise Failure("tool_unavailable", f"{whose} speaks to {bound} MCP servers already; try again later.")
            await self._end(idle)

    async def _open(self, definition: Definition, secrets: Mapping[str, str]) -> Session:
        openers = await _openers()
        url = definition.config.get("url")
        if url is not None:
            headers = {
                name: rules.revealed(value, secrets) for name, value in definition.config.get("headers", {}).items()
            }
            outbound = await self._outbound.trusting(definition.config.get("ca_bundle"))
            return await openers.open_endpoint(url, headers, self._connect_seconds_max, outbound)
        name = definition.config["server"]
        if name not in self.programs_of(definition.project_id):
            raise Failure(
                "tool_unavailable", f"This server's operator has declared no MCP server {name} for this project."
            )
        return await openers.open_program(self._programs[name], self._connect_seconds_max)

    async def _end(self, held: _Held) -> None:
        session, held.session = held.session, None
        if session is not None:
            await session.close()

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(min(SWEEP_SECONDS, self._idle_seconds_max))
            now = asyncio.get_running_loop().time()
            for key, held in tuple(self._held.items()):
                if not held.in_use and now - held.used_at > self._idle_seconds_max and now > held.not_before:
                    del self._held[key]
                    await self._end(held)


async def _openers() -> Openers:
    """Imports the SDK in a thread; its own log lines contain tool output, so they are disabled."""
    for name, level in (("mcp", logging.CRITICAL), ("httpx2", logging.WARNING)):
        logging.getLogger(name).setLevel(level)
    return cast("Openers", await asyncio.to_thread(importlib.import_module, "stoa.tools.providers.mcp.session"))
