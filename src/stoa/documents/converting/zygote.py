"""The process that readers are forked from.

It has loaded the libraries that every file needs, has no threads, opens no file, and ends with the server.

Started as `python -I -m stoa.documents.converting.zygote PARENT` with a SOCK_SEQPACKET socket as its standard input.
The server sends one JSON object a packet: `{"number", "job"}` with two descriptors, the standard output and error of
the reader to fork; `{"reap"}` with the number of an ended reader whose process id may be reused; `{"load"}` with a
library that a file needed. This process answers `{"started", "pid"}` and `{"ended", "status"}`, or `{"unfit"}` with the
reason. When the server closes the socket, this process ends (docs/decisions/0021).
"""

import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

import orjson

from stoa.documents.chunking import passages
from stoa.documents.converting import reading, worker
from stoa.documents.converting.page import LIBRARIES
from stoa.kernel import confinement

MESSAGE_BYTES_MAX: Final = 64 * 1024
DESCRIPTORS_MAX: Final = 256
_TASKS: Final = Path("/proc/self/task")


class Unfit(Exception):
    """This process must not be forked: it has threads."""


class Zygote:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._pids: dict[int, int] = {}
        self._reported: set[int] = set()

    def serve(self) -> None:
        """Until the server closes its end."""
        woken, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.signal(signal.SIGCHLD, _noted)
        signal.set_wakeup_fd(waker)
        either = select.poll()
        either.register(woken, select.POLLIN)
        either.register(self._control, select.POLLIN)
        while True:
            for ready, _ in either.poll():
                if ready == woken:
                    os.read(woken, 4096)
                    self._report_ends()
                elif not self._serve_one():
                    return

    def _serve_one(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES_MAX, 2)
        if not message:
            return False
        request: dict[str, Any] = orjson.loads(message)
        if "job" in request:
            self._fork(request["number"], reading.Job(**request["job"]), *descriptors)
        elif "reap" in request:
            # The unreaped zombie reserved the process id until now, so the server could safely kill by it.
            if pid := self._pids.pop(request["reap"], None):
                os.waitpid(pid, 0)
            self._reported.discard(request["reap"])
        elif request["load"] in LIBRARIES:
            import_module(LIBRARIES[request["load"]])
            _freeze()
        return True

    def _fork(self, number: int, job: reading.Job, output: int, errors: int) -> None:
        if len(list(_TASKS.iterdir())) > 1:
            raise Unfit("a library has started a thread, whose locks would stay locked in a fork for ever")
        try:
            pid = os.fork()
        except OSError:  # the system has no room for another process
            _say(self._control, {"ended": number, "status": 1})
        else:
            if pid == 0:
                _read(job, output, errors)
            self._pids[number] = pid
            _say(self._control, {"started": number, "pid": pid})
        os.close(output)
        os.close(errors)

    def _report_ends(self) -> None:
        for number, pid in self._pids.items():
            if number in self._reported:
                continue
            end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if end is not None:
                self._reported.add(number)
                _say(
                    self._control,
                    {"ended": number, "status": end.si_status if end.si_code == os.CLD_EXITED else -end.si_status},
                )


def _read(job: reading.Job, output: int, errors: int) -> NoReturn:
    """Runs in the forked process, and does not return."""
    try:
        confinement.die_with(job.parent)
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        os.closerange(3, DESCRIPTORS_MAX)
        worker.work(job)
    finally:  # `work` ends the process. Only a bug gets here; it is printed like an uncaught exception.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _say(control: socket.socket, message: Mapping[str, Any]) -> None:
    control.send(orjson.dumps(message))


def _noted(_signal: int, _frame: object) -> None:
    """The signal arrives through the wake-up descriptor instead."""


def _freeze() -> None:
    """Keeps the garbage collector off all present objects: collecting them would write to memory that forks share."""
    gc.collect()
    gc.freeze()


def main(parent: int) -> None:
    confinement.die_with(parent)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    passages("# Heading\n\nThe first call builds the splitter, which forks then share.")
    _freeze()
    try:
        Zygote(control).serve()
    except Unfit as error:
        _say(control, {"unfit": str(error)})


if __name__ == "__main__":
    main(int(sys.argv[1]))
