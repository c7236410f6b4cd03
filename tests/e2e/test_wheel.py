"""A wheel built from this source, in an environment that holds nothing of it but the dependencies, serves a
conversation."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stoa.console.documentation import pages

ROOT = Path(__file__).parents[2]


SOURCES = ("src", "docs", "requirements")


def built(root: Path, target: Path) -> Path:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(build, cwd=root, check=True, capture_output=True, timeout=60)
    return next(target.glob("*.whl"))


@pytest.mark.timeout(120)
def test_the_same_source_makes_the_same_wheel(tmp_path: Path) -> None:
    """Elsewhere, later, with files that only their owner may read."""
    first = built(ROOT, tmp_path / "first")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, copy_function=shutil.copyfile)
    for file in [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), ROOT / "LICENSE"]:
        shutil.copyfile(file, copy / file.name)
        (copy / file.name).chmod(0o600)
    second = built(copy, tmp_path / "second")
    assert first.name == second.name
    assert hashlib.sha256(first.read_bytes()).hexdigest() == hashlib.sha256(second.read_bytes()).hexdigest()
    names = set(zipfile.ZipFile(first).namelist())
    assert {f"stoa/console/carried/{path}" for path in pages.paths()} <= names, "every page of the documentation"
    assert "stoa/console/carried/docs/pictures/journal.svg" in names
    assert any(name.endswith("sbom.cdx.json") for name in names)


@pytest.mark.timeout(180)
async def test_the_wheel_serves_a_conversation(room: Path, tmp_path: Path) -> None:
    wheel = built(ROOT, tmp_path)
    home = room / "wheel"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home / "venv")], check=True, timeout=60)
    python = home / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]  # Its own would take seconds to be installed.
    install = [*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=60)
    # The dependencies of the environment that runs the tests, without downloading them again; stoa itself is the
    # wheel's.
    site = next((home / "venv" / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(
        "\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n", "utf-8"
    )
    where = subprocess.run(
        [
            str(python),
            "-c",
            "import stoa; from stoa.console.documentation import pages; print(stoa.__file__, pages.root())",
        ],
        capture_output=True,
        text=True,
        cwd=home,
        timeout=60,
        check=True,
    )
    assert where.stdout.count(str(home)) == 2, "the wheel's own modules and pages are used"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("STOA_", "OPENAI_", "PYTHONPATH"))
    }
    process = await asyncio.create_subprocess_exec(
        str(home / "venv" / "bin" / "stoa"),
        "demo",
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    async with asyncio.timeout(100):
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    assert b"found nothing left" in said
