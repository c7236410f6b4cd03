"""Writes `requirements/sbom.cdx.json`, a CycloneDX bill of what the server is made of, out of the lock files.

    python tools/supply/sbom.py            # `make lock` runs it; the wheel carries the file

What it says is the lock's alone: each package with its version and the hashes that an installation accepts. So it is
the same whenever it is made, and a test compares it with the lock.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT: Final = Path(__file__).parents[2]
LOCKS: Final = ("run.txt", "embedder.txt")
TARGET: Final = ROOT / "requirements" / "sbom.cdx.json"
_PACKAGE: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\]+?))?\s*\\?$")
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def locked(text: str) -> Iterator[tuple[str, str, Sequence[str]]]:
    """(name, version, SHA-256 hashes) of each package of a lock file."""
    name = version = ""
    hashes: list[str] = []
    for line in [*text.splitlines(), "end==0"]:
        if match := _PACKAGE.match(line.strip()):
            if name:
                yield name, version, hashes
            name, version, hashes = match[1], match[2], []
        hashes += _HASH.findall(line)


def bill() -> str:
    """The file's text."""
    bom = Bom()
    for lock in LOCKS:
        for name, version, hashes in locked((ROOT / "requirements" / lock).read_text("utf-8")):
            url = PackageURL("pypi", name=name, version=version)
            bom.components.add(
                Component(
                    type=ComponentType.LIBRARY,
                    name=name,
                    version=version,
                    purl=url,
                    bom_ref=str(url),
                    hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one) for one in sorted(hashes)],
                )
            )
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    # A serial number and a time would make each making another one.
    text = re.sub(r'\n "serialNumber": "[^"]*",', "", text)
    return re.sub(r'\n  "timestamp": "[^"]*",?', "", text) + "\n"


if __name__ == "__main__":
    TARGET.write_text(bill(), "utf-8")
