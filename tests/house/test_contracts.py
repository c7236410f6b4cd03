"""The import contracts bite: a violation injected for each of them is caught. A contract that catches nothing is
decoration."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VIOLATIONS = [
    ("down, never up, never sideways", "kernel/clock.py", "import stoa.runs.service"),
    ("down, never up, never sideways", "access/rules.py", "import stoa.gateway.types"),
    ("inside a slice", "runs/store.py", "import stoa.runs.service"),
    ("slices are met at their front door", "runs/context.py", "import stoa.conversations.store"),
    ("internal role", "streams/service.py", "import stoa.db.internal"),
    ("web stays at the edge", "journal/service.py", "import fastapi"),
    ("the database driver in one place", "conversations/service.py", "import asyncpg"),
    ("the HTTP client in one place", "streams/service.py", "import aiohttp"),
    ("the client of buckets in one place", "conversations/service.py", "import obstore"),
    ("what is counted is shown in one place", "runs/worker.py", "import prometheus_client"),
    ("pure core", "runs/rules.py", "import time"),
    ("the console is a client", "console/client.py", "import stoa.conversations"),
    ("the command line is a client", "cli/client.py", "import stoa.journal"),
]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, to be broken. What the linter has read of a file it keeps while the file stays as it is."""
    root = tmp_path_factory.mktemp("contracts")
    shutil.copy(ROOT / "pyproject.toml", root)
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__", "*.onnx", "*.pdf"))
    return root


@contextmanager
def added(file: Path, line: str) -> Iterator[None]:
    text = file.read_text("utf-8")
    file.write_text(f"{text}\n{line}\n", "utf-8")
    try:
        yield
    finally:
        file.write_text(text, "utf-8")


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).parent / "lint-imports"
    command = [str(linter), "--config", str(root / "pyproject.toml"), "--cache-dir", str(root / "cache")]
    return subprocess.run(
        command,
        cwd=root,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={"PYTHONPATH": str(root / "src")},
    )


@pytest.mark.parametrize(
    ("contract", "file", "line"), VIOLATIONS, ids=[f"{contract} ({file})" for contract, file, _ in VIOLATIONS]
)
def test_each_contract_catches_its_violation(copied: Path, contract: str, file: str, line: str) -> None:
    with added(copied / "src" / "stoa" / file, line):
        done = lint(copied)
    assert done.returncode != 0
    assert f"{contract} BROKEN" in done.stdout, done.stdout + done.stderr
