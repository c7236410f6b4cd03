"""The listening socket, and limits of file descriptors."""

import contextlib
import errno
import socket
import sys
from typing import Final

BACKLOG: Final = 4096
"""Large enough for a thousand clients that reconnect at once."""
ACCEPTED_PER_TURN: Final = 8
"""uvloop accepts one connection per socket and loop iteration. Under load, when iterations are long, a burst of clients
would wait for seconds."""
UNSENT_BYTES_MAX: Final = 64 * 1024
"""How much unsent data the kernel buffers per connection (TCP_NOTSENT_LOWAT). By default this is up to 4 MB for each
client that has stopped reading."""
DESCRIPTORS_WANTED: Final = 65_536
"""The limit of file descriptors to set, if the system allows it."""


class StartError(Exception):
    """The server cannot start. The message says why, and what to do."""


def bind(host: str, port: int) -> socket.socket:
    """Called before anything else is started, so that a port in use is reported at once. Raises StartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # IPPROTO_TCP explicitly: asyncio sets TCP_NODELAY only on connections of sockets with this protocol.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Connections inherit it.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise StartError(f"Cannot listen on {host}:{port}: {error.strerror}. {_way_out(error)}") from error
    listening.setblocking(False)
    return listening


def _way_out(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "Choose an address of this machine: 127.0.0.1, or 0.0.0.0 for all of them (--host, STOA_HOST)."
    if error.errno == errno.EACCES:
        return "Ports below 1024 are for root; choose another port: stoa serve --port 8081"
    return "Choose another port: stoa serve --port 8081"


def doors(listening: socket.socket, at_once: int = ACCEPTED_PER_TURN) -> list[socket.socket]:
    """Duplicates of the socket: each accepts one connection per loop iteration."""
    # O_NONBLOCK belongs to the socket that all processes share. Python assumes that a socket made from a descriptor is
    # blocking, and dup() would set that mode for all: a process that loses the race for a connection would then block
    # in accept().
    listening.setblocking(False)
    more = 0 if sys.platform == "win32" else at_once - 1  # On Windows asyncio's loop accepts all waiting connections.
    return [listening, *(listening.dup() for _ in range(more))]


def descriptors_max() -> int:
    """Raises the limit of file descriptors as far as allowed, and returns it."""
    if sys.platform == "win32":
        return 8192
    import resource  # noqa: PLC0415 — exists on this platform only

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else min(soft, DESCRIPTORS_WANTED)
