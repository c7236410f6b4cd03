"""One worker: a node of the server, in a process that the parent has started (`child`)."""

import asyncio
import contextlib
import faulthandler
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from typing import Any, Final

import uvloop

from stoa.access import BootstrapError
from stoa.app import Server, open_server
from stoa.cli.data_and_database import OWNER_ONLY
from stoa.cli.listening import ACCEPTED_PER_TURN, doors
from stoa.cli.serve import settle_memory, until_stopped
from stoa.cli.stopping import Stopping
from stoa.cli.workers.channel import Channel
from stoa.db.connecting import UnreachableError
from stoa.db.migrate import SchemaError
from stoa.gateway import UnknownDefault
from stoa.kernel.errors import Unavailable
from stoa.kernel.shared_counts import Row, SharedCounts
from stoa.kernel.snapshots import Family, Snapshot
from stoa.kernel.telemetry import configure_logs
from stoa.settings import Settings, SettingsError

REFUSED: Final = 3
"""The exit code of a worker that has reported why it cannot start."""
PAGE_SECONDS_MAX: Final = 3.0


class Siblings:
    """Access to the other workers through the parent."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._take: Callable[[bool], Snapshot] = lambda _: ()
        self._pages: dict[int, asyncio.Future[list[Family]]] = {}
        self._asked = 0

    def counts(self, take: Callable[[bool], Snapshot]) -> None:
        self._take = take

    async def all(self) -> Snapshot:
        """The counts of all workers, or of this one if the parent does not answer."""
        self._asked += 1
        number, page = self._asked, asyncio.get_running_loop().create_future()
        self._pages[number] = page
        self._channel.send("page", number=number)
        try:
            async with asyncio.timeout(PAGE_SECONDS_MAX):
                return await page
        except TimeoutError:
            return self._take(True)
        finally:
            del self._pages[number]

    def send_counts(self, *, whole: bool = False) -> None:
        self._channel.send("counts", families=self._take(whole))

    def answered(self, number: int, families: list[Family]) -> None:
        page = self._pages.get(number)
        if page is not None and not page.done():
            page.set_result(families)


class Worker:
    def __init__(self, place: int, channel: Channel, listening: socket.socket, addresses: int) -> None:
        self._place = place
        self._addresses = addresses
        self._channel = channel
        self._listening = listening
        self._siblings = Siblings(channel)
        self._stopping = Stopping()
        self._alone = False

    async def work(self, messages: AsyncIterator[dict[str, Any]], order: dict[str, Any]) -> int:
        """Serves until it ends; returns the exit code. `order` is the parent's first message."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._leave)
        reading = asyncio.create_task(self._obey(messages), name="parent")
        try:
            settings = Settings.model_validate(order["settings"])
            configure_logs(settings.log_level, settings.log_format, self._place)
            async with open_server(
                settings, order["dsn"], siblings=self._siblings, welcomes=order["welcomes"]
            ) as server:
                settle_memory()
                self._channel.send("ready", said=_said(server))
                await until_stopped(
                    settings,
                    server,
                    self._doors(order["workers"]),
                    self._stopping,
                    self._draining,
                    self._shared(settings, order),
                )
        except (BootstrapError, SchemaError, SettingsError, UnknownDefault) as error:
            self._channel.send("refused", why=str(error), away=isinstance(error.__cause__, UnreachableError))
            return REFUSED
        except (Unavailable, OSError) as error:
            self._channel.send("refused", why=f"{type(error).__name__}: {error}", away=True)
            return REFUSED
        finally:
            self._siblings.send_counts()
            await self._channel.flush()
            reading.cancel()
        return 0

    def _doors(self, workers: int) -> Sequence[socket.socket]:
        """Duplicates of the listening socket. All workers together accept as many connections per loop iteration as a
        single server, and each only a share, so that a burst is spread over them."""
        return doors(self._listening, max(1, ACCEPTED_PER_TURN // 2 // workers))

    def _shared(self, settings: Settings, order: dict[str, Any]) -> Row | None:
        """The shared counts, if a limit is configured: it applies to the whole server. The default limit depends on the
        file descriptors of each process."""
        if settings.connections_per_address_max is None:
            return None
        return SharedCounts(self._addresses, order["workers"], bytes.fromhex(order["key"])).row(self._place - 1)

    def _draining(self, stop_listening: Callable[[], None]) -> None:
        if self._alone:  # The others accept new connections. While all drain, each still answers, as one server does.
            stop_listening()

    def _leave(self) -> None:
        if not self._stopping.asked.is_set():
            self._alone = True
            self._stopping.ask()

    async def _obey(self, messages: AsyncIterator[dict[str, Any]]) -> None:
        async for message in messages:
            match message["is"]:
                case "count":
                    self._siblings.send_counts(whole=message["whole"])
                case "page":
                    self._siblings.answered(message["number"], message["families"])
                case "drain":
                    if not self._stopping.asked.is_set():
                        self._stopping.ask()
                case "end":
                    self._stopping.asked.set()
                    self._stopping.forced.set()
                case other:
                    raise AssertionError(f"unknown order {other!r}")
        os._exit(1)  # The parent has ended, and only it could restart the database.


def _said(server: Server) -> dict[str, Any]:
    return {
        "first_key": server.first_key,
        "sign_in_link": server.sign_in_link,
        "owner_link": server.owner_link,
        "default_model": server.default_model,
        "providers": [asdict(provider) for provider in server.providers],
    }


async def work(place: int, channel_end: socket.socket, listening: socket.socket, addresses: int) -> int:
    channel = await Channel.open(channel_end)
    messages = channel.messages()
    try:
        order = await anext(messages, None)
        return 1 if order is None else await Worker(place, channel, listening, addresses).work(messages, order)
    finally:
        channel.close()


def run(place: int, channel: int, listening: int, addresses: int) -> None:
    """Runs the worker and ends the process. The arguments are those of `child`."""
    faulthandler.enable()  # The parent aborts a stuck worker, which then writes its stack traces.
    gc.disable()  # Until the worker has started, as in `stoa serve`.
    os.umask(OWNER_ONLY)
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(uvloop.run(work(place, socket.socket(fileno=channel), socket.socket(fileno=listening), addresses)))
