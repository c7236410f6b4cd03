"""The command line in this process, against a server in this process."""

import asyncio
import re

from typer.testing import CliRunner

from stoa.cli.main import app
from tests.support.running import FIRST_KEY, Running


class Terminal:
    """`stoa GROUP …`, or any command where no group is named."""

    def __init__(self, server: Running, *group: str) -> None:
        self._group = group
        self._environment = {
            "STOA_URL": server.url,
            "STOA_KEY": FIRST_KEY,
            "STOA_CREDENTIALS": "/nowhere/credentials.json",
            "COLUMNS": "60",
            "NO_COLOR": "1",
        }

    async def __call__(self, *arguments: str, status: int = 0, said: str | None = None, **environment: str) -> str:
        """In a thread: the command is synchronous, and this process serves."""
        result = await asyncio.to_thread(
            CliRunner().invoke, app, [*self._group, *arguments], said, env={**self._environment, **environment}
        )
        printed = re.sub(
            r"(?m)^\d{4}-\d\d-\d\d .*\n", "", result.output
        )  # The server's own log goes to the same place.
        assert result.exit_code == status, (arguments, printed)
        return printed
