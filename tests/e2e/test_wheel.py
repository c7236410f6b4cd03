"""A wheel built from this source, in an environment that holds nothing of it but the dependencies, serves a
conversation."""

import asyncio
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(180)
async def test_the_wheel_serves_a_conversation(room: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    wheel = next(tmp_path.glob("*.whl"))
    home = room / "wheel"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home / "venv")], check=True, timeout=60)
    python = home / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]  # Its own would take seconds to be installed.
    install = [*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=60)
    # The dependencies of the environment that runs the tests, without downloading them again; stoa itself is the
    # wheel's.
    site = next((home / "venv" / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", "utf-8")
    where = subprocess.run(
        [str(python), "-c", "import stoa; print(stoa.__file__)"],
        capture_output=True,
        text=True,
        cwd=home,
        timeout=60,
        check=True,
    )
    assert str(home) in where.stdout, "the wheel's own modules are used"
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
