"""The process of one worker, which the parent starts.

    python -m stoa.cli.workers.child PLACE PARENT CHANNEL LISTENING ADDRESSES

PLACE is its number from 1, PARENT the parent's process id; CHANNEL, LISTENING and ADDRESSES (shared memory with the
connections per address) are file descriptors. SIGINT is ignored, because a Ctrl-C in the terminal is for the parent.
SIGTERM drains only this worker, and the parent starts another.

This module imports little, so that the process soon watches its parent and ends with it. The server's modules take
seconds to load on a busy machine; a process that loaded them after its parent's death would keep the port open
meanwhile.
"""

import os
import signal
import sys

from stoa.kernel.confinement import die_with_parent


def main() -> None:
    place, parent, channel, listening, addresses = map(int, sys.argv[1:])
    for descriptor in (channel, listening, addresses):
        os.set_inheritable(descriptor, False)  # A process that this worker starts must not keep the port.
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from stoa.cli.workers.worker import run  # noqa: PLC0415 — heavy; not before this process ends with its parent

    run(place, channel, listening, addresses)


if __name__ == "__main__":
    main()
