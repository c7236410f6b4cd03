"""Makes tools out of definitions: one HTTP client for all of them, and the Python tools that are installed."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import aiohttp

from stoa.outbound import client
from stoa.tools.providers.http import HttpTool
from stoa.tools.providers.python import PythonTool, registered
from stoa.tools.types import Definition, Tool, ToolKind


class Suppliers:
    """Long-lived; `close` ends its connections."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @cached_property
    def _callables(self) -> Mapping[str, Callable[..., Any]]:
        return registered()

    def callables(self) -> Sequence[str]:
        return list(self._callables)

    def __call__(self, definition: Definition, secrets: Mapping[str, str]) -> Tool | None:
        if definition.type is ToolKind.HTTP:
            if self._session is None:
                self._session = client(allow_private=self._allow_private)
            return HttpTool(definition, secrets, self._session, allow_private=self._allow_private)
        function = self._callables.get(definition.config["entry_point"])
        return PythonTool(definition, function) if function is not None else None
