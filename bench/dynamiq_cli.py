"""Runs the commands of the platform's command line, for bench/compat_dynamiq.py, in the interpreter of an environment
that has `dynamiq`.

Loading the package takes four seconds. It is loaded once; each command is a fork of that process, which calls the entry
point of the released package as the command `dynamiq` does, with its own arguments, environment and streams. One JSON
object per line: `{argv, env}` in, `{status, out, err}` back; the first line lists the commands.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from dynamiq.cli import main  # type: ignore[import-not-found]
from dynamiq.cli.commands.utils import cli  # type: ignore[import-not-found]


def run(argv: list[str], environment: dict[str, str]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            for held, stream in ((out, 1), (err, 2)):
                os.dup2(held.fileno(), stream)
            os.environ.update(environment)
            sys.argv = ["dynamiq", *argv]
            sys.stdin = Path(os.devnull).open()  # noqa: SIM115 — the command's own
            status = 0
            try:
                main()
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException as error:  # noqa: BLE001 — as the interpreter would end
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                status = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        _, ended = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        return {
            "status": os.waitstatus_to_exitcode(ended),
            "out": out.read().decode("utf-8", "replace"),
            "err": err.read().decode("utf-8", "replace"),
        }


def commands() -> list[str]:
    """Every command, under its group's first name."""
    groups = {id(group): group for group in cli.commands.values()}.values()
    return [
        f"{group.name} {name}" if name else group.name
        for group in groups
        for name in getattr(group, "commands", {"": group})
    ]


if __name__ == "__main__":
    print(json.dumps(commands()), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(run(asked["argv"], asked["env"])), flush=True)
