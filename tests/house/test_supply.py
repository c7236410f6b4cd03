"""What the server is made of: said by the lock file, hashed, and carried by the wheel."""

import json
import re

from tests.support.pages import ROOT
from tools.supply import sbom


def test_every_locked_package_is_pinned_by_hash() -> None:
    for lock in ("run.txt", "dev.txt", "build.txt", "embedder.txt"):
        found = list(sbom.locked((ROOT / "requirements" / lock).read_text("utf-8")))
        assert found
        for name, version, hashes in found:
            assert hashes, f"{lock}: {name} {version} has no hash"


def test_the_bill_of_materials_is_that_of_the_lock() -> None:
    text = (ROOT / "requirements" / "sbom.cdx.json").read_text("utf-8")
    assert text == sbom.bill(), "run tools/supply/sbom.py"
    components = {(component["name"], component["version"]) for component in json.loads(text)["components"]}
    for line in (ROOT / "requirements" / "run.txt").read_text("utf-8").splitlines():
        if match := re.match(r"^([A-Za-z0-9._-]+)==([^\s;]+)", line):
            assert (match[1], match[2]) in components
