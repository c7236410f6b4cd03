"""The README's commands run as they stand, pasted into a shell; what it and the other pages point to is there.

`make demo` and `make test` are not run inside the suite: CI is `make test`, and tests/e2e runs `stoa demo`, which is
all that `make demo` adds.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.pages import PAGES, ROOT, blocks, shell_of
from tests.support.processes import KEY, serve, url_of


async def test_the_readme_s_shell_works_when_pasted(room: Path) -> None:
    if shutil.which("curl") is None:
        assert not os.environ.get("CI"), "CI must have curl"
        pytest.skip("curl is not on this machine")
    first, talk, base = blocks(ROOT / "README.md", "sh")
    assert first.splitlines() == ["make demo", "make test", "make serve"]
    async with serve(room / "readme", STOA_BOOTSTRAP_KEY=KEY) as (_, said):
        # What a reader replaces: the key, and here the port, which another server may have.
        script = "set -eu\n" + (talk + base).replace("stoa_acc_…", KEY).replace("http://localhost:8080", url_of(said))
        assert script.count(KEY) == 1
        shell = await asyncio.create_subprocess_exec(
            *shell_of("README.md"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
        )
        async with asyncio.timeout(90):
            out, errors = await shell.communicate(script.encode())
    printed = out.decode()
    assert (shell.returncode, errors) == (0, b"")
    assert printed.count("event: run.completed") == 3, "the message's stream, the resumed one, the one about the base"
    assert printed.count("event: run.started") == 2
    assert '"source":"operate.md"' in printed, "the search at the base's url"
    assert "operate.md" in printed.partition('"delta":"Here is what your documents say')[2], "the agent quotes it"
    assert '"error"' not in printed
    assert '"total_count":1' in printed
    assert '"message":"deleted"' in printed


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text("utf-8")):
            if not target.startswith(("http://", "https://")):
                assert (page.parent / target).exists(), f"{page.name} points to {target}"


def test_the_guards_that_architecture_names_exist() -> None:
    named = re.findall(r"`(tests/[\w./]+?\.py)(?:::(\w+))?`", (ROOT / "ARCHITECTURE.md").read_text("utf-8"))
    assert len(named) >= 5
    for file, test in named:
        assert (ROOT / file).is_file(), file
        assert not test or f"def {test}(" in (ROOT / file).read_text("utf-8"), f"{file}::{test}"


def test_json_examples_are_json() -> None:
    for page in PAGES:
        for block in blocks(page, "json"):
            json.loads(block)


def plain(shell: str) -> str:
    """What a shell reads outside of quotes and of here-documents."""
    shell = re.sub(r"<<'(\w+)'\n.*?\n\1\n", "\n", shell, flags=re.DOTALL)
    shell = re.sub(r"'[^']*'", "Q", shell)
    return re.sub(r'"[^"]*"', "Q", shell)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shell_survives_pasting_into_zsh(page: Path) -> None:
    """There an interactive `#` is no comment, and an unquoted `?` or `[` must match a file."""
    for block in blocks(page, "sh"):
        for line in plain(block).splitlines():
            assert not re.search(r"(^|\s)#", line), f"a comment: {line}"
            assert not re.search(r"[?*\[]", re.sub(r"\$[?#*]", "", line)), f"a pattern that matches no file: {line}"
        assert ".localhost" not in block, (
            "Python and Node do not resolve these names everywhere: take the url of the answer"
        )
