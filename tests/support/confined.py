"""Whether this machine can confine a process; otherwise tests of confinement are skipped."""

import platform
import sys
from pathlib import Path

import pytest

confines = pytest.mark.skipif(
    sys.platform != "linux"
    or platform.machine() not in ("x86_64", "aarch64")
    or "landlock" not in (lsm.read_text() if (lsm := Path("/sys/kernel/security/lsm")).exists() else "landlock"),
    reason="processes are confined on Linux alone, with Landlock",
)
