"""Node, where it is on this machine."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

NODE_MIN: Final = 18
SCRIPTS: Final = Path(__file__).parents[1] / "clients"


def node(script: str, told: Any, *, seconds_max: float = 110, **environment: str) -> list[str]:
    """The lines that a script of tests/clients prints; `told` is its standard input, as JSON. Skips where there is no
    Node."""
    done = subprocess.run(
        [node_command(), str(SCRIPTS / script)],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=seconds_max,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert not done.stderr, done.stderr[-4000:]
    return done.stdout.rstrip("\n").split("\n")


def node_command() -> str:
    command = shutil.which("node")
    version = (
        subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout if command else ""
    )
    found = re.match(r"v(\d+)", version)
    if command is None or found is None or int(found[1]) < NODE_MIN:
        reason = f"Node {NODE_MIN} or newer is not on this machine{f' (it has {version.strip()})' if version else ''}"
        assert not os.environ.get("CI"), f"CI must have it: {reason}"
        pytest.skip(reason)
    return command
