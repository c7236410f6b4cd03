"""What programs write is current, and both packages can be built without a network."""

import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import stoa_client
from tests.support.client_cases import ROOT
from tests.support.javascript import node_command

CLIENTS = ROOT / "clients"


def tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / "clients" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_synchronous_half_is_current() -> None:
    wanted = tool("unasync").files()
    assert {path: path.read_text("utf-8") for path in wanted} == wanted, "run python tools/clients/unasync.py"
    folder = next(iter(wanted)).parent
    assert {path.name for path in folder.glob("*.py")} == {path.name for path in wanted}


def test_the_types_of_javascript_are_current() -> None:
    module = tool("declarations")
    assert module.TARGET.read_text("utf-8") == module.declarations(), "run python tools/clients/declarations.py"


def test_what_the_command_line_carries_is_current() -> None:
    wanted = tool("carried").files()
    assert {path: path.read_text("utf-8") for path in wanted} == wanted, "run python tools/clients/carried.py"
    folder = next(iter(wanted)).parent
    own = {"__init__.py", "transport.py"}
    assert {path.name for path in folder.glob("*.py")} == {path.name for path in wanted} | own


def test_all_have_one_version() -> None:
    package = json.loads((CLIENTS / "javascript" / "package.json").read_text("utf-8"))
    said = (CLIENTS / "javascript" / "src" / "version.js").read_text("utf-8")
    assert said == f'export const VERSION = "{package["version"]}";\n'
    assert package["version"] == stoa_client.__version__


def test_the_wheel_holds_the_package_and_its_types(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=CLIENTS / "python", check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("stoa_client-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"stoa_client/py.typed", "stoa_client/_sync/client.py", "stoa_client/_async/client.py"} <= names


def test_the_npm_package_holds_its_sources_and_types(tmp_path: Path) -> None:
    node_command()
    npm = shutil.which("npm")
    assert npm is not None, "npm comes with Node"
    pack = [npm, "pack", "--offline", "--silent", "--pack-destination", str(tmp_path)]
    subprocess.run(pack, cwd=CLIENTS / "javascript", check=True, capture_output=True, timeout=60)
    (archive,) = tmp_path.glob("stoa-client-*.tgz")
    with tarfile.open(archive) as packed:
        names = set(packed.getnames())
    sources = {f"package/src/{path.name}" for path in (CLIENTS / "javascript" / "src").iterdir()}
    assert names == sources | {"package/package.json", "package/README.md", "package/LICENSE"}
