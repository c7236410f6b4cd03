"""Small disks for the data and for the log, which can be filled up and freed again."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MEGABYTES: Final = {"data-disk": 256, "log-disk": 4}
FULL: Final = {"full_data": 2, "full_log": 1, "full_both": 1, "kill": 1}
"""The faults of a campaign on such disks."""


class NoDisks(Exception):
    """A disk cannot be mounted on this system; the message says why."""


@dataclass
class Disk:
    path: Path

    def fill(self) -> None:
        with suppress(OSError), (self.path / "ballast").open("ab", buffering=0) as file:
            while file.write(bytes(65536)):
                pass
        with suppress(OSError), (self.path / "ballast").open("ab", buffering=0) as file:
            while file.write(b"x"):
                pass

    def free(self) -> None:
        (self.path / "ballast").unlink(missing_ok=True)


@contextmanager
def small_disks(room: Path) -> Iterator[tuple[Disk, Disk]]:
    """For the data, and for the log. Raises NoDisks."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise NoDisks("only root can mount a small disk that can be filled")
    mounted: list[Path] = []
    try:
        for name, megabytes in MEGABYTES.items():
            path = room / name
            path.mkdir()
            command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(path)]
            if subprocess.run(command, capture_output=True, check=False).returncode != 0:
                raise NoDisks("this system does not let us mount a small disk")
            mounted.append(path)
        yield Disk(mounted[0]), Disk(mounted[1])
    finally:
        for path in mounted:
            subprocess.run(["umount", "--lazy", str(path)], check=True)
            path.rmdir()
