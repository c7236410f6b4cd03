"""Backups and restores that die like `kill -9` at one of their steps: each in a fork of this process, which has no
threads yet.

python -m tests.support.crashes.dying_backup backup DSN DATA_DIR BACKUPS STEP…
python -m tests.support.crashes.dying_backup restore DSN DATA_DIR BACKUPS STEP…
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from stoa.db.backup.contents import directories
from stoa.db.backup.repository import make_repository, open_repository
from stoa.db.backup.restoring import begin, restore
from stoa.db.backup.taking import Origin, take


def dying(step: str) -> object:
    def tell(said: str) -> None:
        if said.startswith(step):
            os.kill(os.getpid(), signal.SIGKILL)

    return tell


async def _backup(dsn: str, data_dir: Path, root: Path, step: str) -> None:
    repository = make_repository(root, None)
    with repository.held(alone=True):
        await take(Origin(dsn, data_dir, directories(data_dir)), repository, dying(step))  # type: ignore[arg-type]


async def _restore(dsn: str, data_dir: Path, root: Path, step: str) -> None:
    repository = open_repository(root, None)
    manifest = repository.manifest(repository.backups()[-1])
    begun = begin(data_dir, manifest)
    await restore(repository, manifest, dsn, data_dir, begun=begun, tell=dying(step))  # type: ignore[arg-type]


def main() -> None:
    what, dsn, data_dir, root, *steps = sys.argv[1:]
    for step in steps:
        child = os.fork()
        if child == 0:
            asyncio.run((_backup if what == "backup" else _restore)(dsn, Path(data_dir), Path(root), step))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(step, "died" if os.WIFSIGNALED(status) else "ended", len(list((Path(root) / "backups").iterdir())))


if __name__ == "__main__":
    main()
