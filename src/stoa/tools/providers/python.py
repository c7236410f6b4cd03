"""Tools that are Python callables, registered by packages of the operator's under the entry point group `stoa.tools`.

A callable takes keyword arguments and returns a string or a JSON value; its signature becomes the parameters. It may be
`async`; a plain one runs in a thread, which cannot be stopped at a timeout, so it should have its own timeout. The
number of these threads is limited, and they are separate from the server's own, so tools that hang do not block the
server.
"""

import asyncio
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final

import orjson
from pydantic import TypeAdapter

from stoa.tools import rules
from stoa.tools.types import Call, CheckArguments, Definition, ToolKind, ToolResult

GROUP: Final = "stoa.tools"
THREADS_MAX: Final = 64


def registered() -> Mapping[str, Callable[..., Any]]:
    """The callables by name; a package that cannot be imported is left out."""
    found: dict[str, Callable[..., Any]] = {}
    for point in entry_points(group=GROUP):
        try:
            found[point.name] = point.load()
        except ImportError:
            continue
    return found


class Threads:
    """Runs callables in daemon threads.

    At most THREADS_MAX at once, including those that outlived their timeout.
    """

    def __init__(self, threads_max: int = THREADS_MAX) -> None:
        self._free = threads_max

    async def run(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        """Calls the function. Raises BusyThreads if no thread is free."""
        if self._free == 0:
            raise BusyThreads
        self._free -= 1
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(outcome: Any, error: BaseException | None) -> None:
            self._free += 1
            if future.done():
                return
            if error is None:
                future.set_result(outcome)
            elif isinstance(error, Exception) and not isinstance(error, StopIteration):
                future.set_exception(error)
            else:  # What would end a future's waiter in another way: a tool that calls exit() ends its call alone.
                future.set_exception(RuntimeError(f"{type(error).__name__}: {error}"))

        def work() -> None:
            outcome, raised = None, None
            try:
                outcome = function(**arguments)
            except BaseException as error:  # noqa: BLE001 — whatever somebody else's code raises belongs to the caller
                raised = error
            try:
                loop.call_soon_threadsafe(settle, outcome, raised)
            except RuntimeError:  # The loop is closed: nobody waits any more.
                return

        threading.Thread(target=work, name="stoa.tools.python", daemon=True).start()
        return await future


class BusyThreads(Exception):
    """Every thread for tools is taken."""


class PythonTool:
    kind = ToolKind.PYTHON

    def __init__(
        self, definition: Definition, function: Callable[..., Any], threads: Threads, check: CheckArguments
    ) -> None:
        self._check = check
        self._definition = definition
        self._function = function
        self._threads = threads
        schema = TypeAdapter[Any](function).json_schema()  # pyright: ignore[reportArgumentType] — it takes callables too
        self.name = definition.name
        self.description = definition.description or inspect.getdoc(function) or definition.name
        self.parameters: Mapping[str, Any] = schema if schema.get("type") == "object" else {"type": "object"}
        self.idempotent = bool(definition.idempotent)
        self.approval = definition.approval
        self.editable_params: Sequence[str] = definition.editable_params

    async def call(self, arguments: Mapping[str, Any], call: Call) -> ToolResult:  # noqa: ARG002 — the port's shape
        if problem := await self._check(arguments, self.parameters):
            return ToolResult(f"The arguments do not fit: {problem}", "tool_bad_arguments")
        try:
            async with asyncio.timeout(self._definition.timeout_seconds):
                if inspect.iscoroutinefunction(self._function):
                    given = await self._function(**arguments)
                else:
                    given = await self._threads.run(self._function, arguments)
            text = (
                given
                if isinstance(given, str)
                else orjson.dumps(given, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
            )
        except TimeoutError:
            return ToolResult(f"No answer came within {self._definition.timeout_seconds:g} seconds.", "tool_timeout")
        except BusyThreads:
            return ToolResult("Every thread for tools of this server is taken; try again later.", "tool_unavailable")
        except Exception as error:  # noqa: BLE001 — somebody else's code: what it raises is an outcome, told to the model
            return ToolResult(
                rules.limited(f"The tool failed: {type(error).__name__}: {str(error)[:500]}", 4_000), "tool_failed"
            )
        return ToolResult(rules.limited(text, self._definition.output_bytes_max))
