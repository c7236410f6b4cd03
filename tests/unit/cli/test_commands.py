"""Every command explains itself, and gives programs JSON where it gives people a table."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from stoa.cli.asking import Exit
from stoa.cli.main import app

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs/guide/command-line.md"


def commands(group: Any = None, name: str = "stoa") -> Iterator[tuple[str, Any]]:
    found = group or typer.main.get_command(app)
    for own, command in sorted(found.commands.items()):
        path = f"{name} {own}"
        if hasattr(command, "commands"):
            yield from commands(command, path)
        else:
            yield path, command


ALL = dict(commands())


@pytest.mark.parametrize("name", ALL)
def test_a_command_says_what_it_does(name: str) -> None:
    command = ALL[name]
    assert command.help, name
    assert command.help.strip()[0].isupper(), name
    for parameter in command.params:
        if parameter.name not in ("limit", "install_completion", "show_completion", "keep"):
            assert getattr(parameter, "help", None), (name, parameter.name)


def test_lists_and_objects_are_given_as_json_too() -> None:
    reading = [
        name for name in ALL if name.split()[-1] in ("list", "show", "items", "usage", "connections", "deployments")
    ]
    assert len(reading) > 15
    for name in reading:
        assert "as_json" in {parameter.name for parameter in ALL[name].params}, name


def test_the_guide_names_every_command_and_every_exit_code() -> None:
    page = GUIDE.read_text("utf-8")
    missing = [name for name in ALL if name != "stoa version" and not _named(name, page)]
    assert not missing
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert codes == {int(one) for one in Exit}


def _named(name: str, page: str) -> bool:
    """In the row of its group, or in full."""
    *group, own = name.split()
    row = next((line for line in page.splitlines() if f"`{' '.join(group)}`" in line), "")
    return f"`{name}`" in page or f"`{name} " in page or re.search(rf"\b{own}\b", row) is not None


def test_a_client_s_command_loads_nothing_of_the_server() -> None:
    """So that it starts at once."""
    code = "import sys, stoa.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"pydantic", "fastapi", "asyncpg", "uvicorn", "stoa.settings", "stoa.app", "httpx", "yaml", "stoa.access"}
    assert not heavy & set(loaded)
