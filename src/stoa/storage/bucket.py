"""Requests to a bucket, with timeouts and retries, and one kind of failure.

There are two clients with different timeouts: a transaction may wait for a HEAD, a DELETE and a listing, so these end
within seconds; content takes longer. The library's timeout includes the body, so a slow reader or writer must not
determine the speed of a request: content is transferred in blocks that fit into memory.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from stoa.db.blobs import BlobsUnavailable
from stoa.kernel.metrics import Counter
from stoa.storage.addresses import BucketAddress, BucketConnection

if TYPE_CHECKING:
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Store

    Store = S3Store | GCSStore | AzureStore

PART_BYTES: Final = 8 * 1024 * 1024
"""Larger content is sent in parts of this size: 10,000 of them are 80 GB, and the largest single PUT is 5 GB."""
PARTS_AT_ONCE: Final = 2
UPLOADS_MAX: Final = 8
"""Concurrent uploads on a node. Each has up to three parts in memory."""
UPLOAD_SECONDS_MAX: Final = 1800.0
"""An upload in parts. S3 dates an object by the begin of its upload, and orphans are those of over an hour."""
DELETE_ATTEMPTS_MAX: Final = 2
CLOSE_SECONDS_MAX: Final = 5.0
LISTED_AT_ONCE: Final = 1_000
OPERATIONS: Final = ("look", "read", "write", "delete", "list")
_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>([^<]{1,100})</Code>")
_SAID: Final = re.compile(r"<Message>([^<]{1,300})</Message>")
_URL: Final = re.compile(r" https?://\S+")
_METADATA_SERVICE: Final = "169.254.169.254"
_log = structlog.get_logger("stoa.blobs")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """For one request: seconds of an attempt, retries, and the seconds after which there is no other."""

    seconds_max: float
    retries_max: int
    retry_seconds_max: float
    backoff_seconds_max: float = 1.0


QUICK: Final = Timeouts(seconds_max=5, retries_max=2, retry_seconds_max=8)
"""For a HEAD, a DELETE, a page of a listing: a transaction may wait for them."""
PATIENT: Final = Timeouts(seconds_max=60, retries_max=4, retry_seconds_max=60, backoff_seconds_max=4)
"""Of content: a part in a minute is 140 kB/s."""


class BucketRefused(BlobsUnavailable):
    """The bucket refuses: it does not exist, or the credentials have no access. Waiting does not help. `reason` is its
    message, for the operator."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            "The files of this server cannot be reached: their bucket refuses. Tell the operator.",
            retry_after_seconds=30,
        )
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Listed:
    """An object. `version` is None or "null" if the bucket keeps no versions."""

    key: str
    size: int
    changed_at: datetime
    version: str | None


def failures() -> Counter:
    """Also shown, as zeros, where files are in a directory."""
    return Counter(
        "stoa_blob_failures",
        "Requests to the bucket of files that failed, retries and all.",
        ("operation",),
        known=[(operation,) for operation in OPERATIONS],
    )


class Bucket:
    """Keys are below the address's prefix. Methods raise BlobsUnavailable."""

    def __init__(
        self,
        address: BucketAddress,
        connection: BucketConnection,
        *,
        quick: Timeouts = QUICK,
        patient: Timeouts = PATIENT,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self.address = address
        self.connection = connection
        self.part_bytes = part_bytes
        self._patience = (quick, patient)
        self.failures = failures()
        self._stores: dict[Timeouts, Store] = {}
        self._uploads = asyncio.Semaphore(UPLOADS_MAX)
        self._ending: set[asyncio.Future[Any]] = set()

    async def open(self) -> None:
        """Loads the client and makes its connections' settings, which takes a tenth of a second: before the server
        answers. Raises BucketRefused."""
        await asyncio.to_thread(lambda: (self._look_store, self._content_store))

    async def close(self) -> None:
        """Waits a moment for aborted uploads, so that they remove their parts."""
        if self._ending:
            await asyncio.wait(self._ending, timeout=CLOSE_SECONDS_MAX)

    async def head(self, key: str) -> Listed | None:
        """None if there is no such object."""
        import obstore  # noqa: PLC0415 — a server with a directory does without it

        with suppress(FileNotFoundError):
            return _listed(await self._call("look", obstore.head_async(self._look_store, key)))
        return None

    async def read(self, key: str, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`, which the object has. Raises FileNotFoundError."""
        import obstore  # noqa: PLC0415

        request = obstore.get_range_async(self._content_store, key, start=start, end=end)
        block = bytes(await self._call("read", request))
        if len(block) != end - start:
            raise self._failed("read", f"{key}: {len(block)} bytes came of {end - start}")
        return block

    async def put(self, key: str, content: bytes) -> None:
        """In one request."""
        import obstore  # noqa: PLC0415

        request = obstore.put_async(self._content_store, key, content, use_multipart=False)
        async with self._uploads:
            try:
                await self._call("write", request)
            except FileNotFoundError as error:
                raise self._refused("write", error) from error

    async def put_parts(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        """In parts. If it fails or is aborted, its parts are removed if the bucket is reachable."""
        import obstore  # noqa: PLC0415

        source = _Abandonable(pieces)
        async with self._uploads:
            request = obstore.put_async(
                self._content_store,
                key,
                source,
                use_multipart=True,
                chunk_size=self.part_bytes,
                max_concurrency=PARTS_AT_ONCE,
            )
            # Cancelling the request would leave its parts in the bucket; instead its source is made to fail.
            sending = asyncio.ensure_future(request)
            try:
                await self._call("write", asyncio.shield(sending), UPLOAD_SECONDS_MAX)
            except FileNotFoundError as error:
                if "NoSuchUpload" in str(error):  # Completed or aborted by an earlier try whose response was lost.
                    raise self._failed("write", reason_of(error)) from error
                raise self._refused("write", error) from error
            finally:
                if not sending.done():
                    source.abandon()
                    self._ending.add(sending)
                    sending.add_done_callback(self._ended)

    async def delete(self, key: str) -> None:
        """No error if there is no such object."""
        import obstore  # noqa: PLC0415

        for left in reversed(range(DELETE_ATTEMPTS_MAX)):
            try:
                with suppress(FileNotFoundError):
                    await self._call("delete", obstore.delete_async(self._look_store, key))
                return
            except BucketRefused:
                raise
            # The client does not retry a DELETE, although a kept-alive connection may just have ended.
            except BlobsUnavailable:
                if left == 0:
                    raise

    async def list(self, prefix: str | None = None) -> AsyncGenerator[Sequence[Listed]]:
        """Objects below `prefix`, in batches."""
        import obstore  # noqa: PLC0415

        last: str | None = None
        stream, failures = obstore.list(self._look_store, prefix, chunk_size=LISTED_AT_ONCE), 0
        while True:
            try:
                batch = [_listed(one) for one in await self._call("list", anext(stream))]
            except StopAsyncIteration:
                return
            except FileNotFoundError as error:
                raise self._refused("list", error) from error
            except BucketRefused:
                raise
            except BlobsUnavailable:
                failures += 1  # The client does not retry a page whose body broke off.
                if failures > 1:
                    raise
                stream = obstore.list(self._look_store, prefix, offset=last, chunk_size=LISTED_AT_ONCE)
                continue
            yield batch
            failures, last = 0, batch[-1].key if batch else last

    @property
    def _look_store(self) -> "Store":
        return self._store(self._patience[0])

    @property
    def _content_store(self) -> "Store":
        return self._store(self._patience[1])

    def _store(self, patience: Timeouts) -> "Store":
        if patience not in self._stores:
            self._stores[patience] = self._made(patience)
        return self._stores[patience]

    def _made(self, patience: Timeouts) -> "Store":
        from obstore.exceptions import BaseError  # noqa: PLC0415
        from obstore.store import AzureStore, GCSStore, S3Store  # noqa: PLC0415

        client: ClientConfig = {
            "connect_timeout": timedelta(seconds=min(3.0, patience.seconds_max)),
            "timeout": timedelta(seconds=patience.seconds_max),
            "user_agent": "stoa",
        }
        connection, endpoint = self.connection, self.connection.endpoint
        if endpoint is not None and endpoint.startswith("http://"):
            client["allow_http"] = True
        if connection.ca is not None:
            client["root_certificate"] = connection.ca
        if (proxy := connection.proxy()) is not None:
            client["proxy_url"] = proxy
            excluded = ("localhost", "127.0.0.1", "::1", *filter(None, (connection.no_proxy,)))
            client["proxy_excludes"] = ",".join(excluded)
        retry: RetryConfig = {
            "max_retries": patience.retries_max,
            "retry_timeout": timedelta(seconds=patience.retry_seconds_max),
            "backoff": {
                "init_backoff": timedelta(seconds=min(0.1, patience.backoff_seconds_max)),
                "max_backoff": timedelta(seconds=patience.backoff_seconds_max),
                "base": 2,
            },
        }
        name, prefix = self.address.bucket, self.address.prefix or None
        try:
            if self.address.scheme == "gs":
                return GCSStore(name, prefix=prefix, client_options=client, retry_config=retry)
            if self.address.scheme == "az":
                azure: Any = {"endpoint": endpoint} if endpoint else {}
                return AzureStore(name, prefix=prefix, config=azure, client_options=client, retry_config=retry)
            # Other servers than Amazon's do not support deleting many objects at once, or require a checksum.
            s3: Any = {"disable_bulk_delete": True, **({"endpoint": endpoint} if endpoint else {})}
            return S3Store(name, prefix=prefix, config=s3, client_options=client, retry_config=retry)
        except BaseError as error:
            raise BucketRefused(reason_of(error)) from error

    async def _call(self, operation: str, request: Awaitable[T], seconds_max: float | None = None) -> T:
        """Calls within `seconds_max`, or the time of one request with its retries. Raises FileNotFoundError for a 404,
        BlobsUnavailable for everything else."""
        from obstore.exceptions import (  # noqa: PLC0415
            BaseError,
            NotSupportedError,
            PermissionDeniedError,
            UnauthenticatedError,
        )

        if seconds_max is None:
            patience = self._patience[operation in {"read", "write"}]
            seconds_max = patience.retry_seconds_max + patience.seconds_max
        try:
            async with asyncio.timeout(seconds_max):
                return await request
        except (PermissionDeniedError, UnauthenticatedError, NotSupportedError) as error:
            raise self._refused(operation, error) from error
        except BaseError as error:
            if is_final(str(error)):
                raise self._refused(operation, error) from error
            raise self._failed(operation, reason_of(error)) from error
        except TimeoutError as error:
            raise self._failed(operation, f"no answer within {seconds_max:.0f} seconds") from error

    def _failed(self, operation: str, reason: str) -> BlobsUnavailable:
        self.failures.add(operation)
        _log.warning("a request to the bucket failed", operation=operation, reason=reason)
        return BlobsUnavailable(
            "The files of this server cannot be reached just now; try again in a moment.", retry_after_seconds=5
        )

    def _refused(self, operation: str, error: Exception) -> BucketRefused:
        self.failures.add(operation)
        reason = reason_of(error)
        _log.error("the bucket refuses a request", operation=operation, reason=reason)
        return BucketRefused(reason)

    def _ended(self, sending: "asyncio.Future[Any]") -> None:
        self._ending.discard(sending)
        if not sending.cancelled() and sending.exception() is None:
            _log.info("an upload ended after it was given up")


class UploadAbandoned(Exception):
    """Nobody waits for the upload any more."""


class _Abandonable:
    """An iterator that another task can make fail."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._abandoned = False

    def abandon(self) -> None:
        self._abandoned = True

    def __aiter__(self) -> "_Abandonable":
        return self

    async def __anext__(self) -> bytes:
        if self._abandoned:
            raise UploadAbandoned
        piece = await anext(self._pieces)
        if self._abandoned:
            raise UploadAbandoned
        return piece


def is_final(text: str) -> bool:
    """Whether an error of the client is a refusal, not a missing response."""
    if _METADATA_SERVICE in text:  # There are no credentials, and this machine has no role.
        return True
    if "redirect without LOCATION" in text:  # Amazon's answer to a signature for another region.
        return True
    found = _STATUS.search(text)
    return found is not None and 300 <= int(found[1]) < 500 and found[1] not in {"408", "409", "412", "416", "429"}


def reason_of(error: Exception) -> str:
    """An error of the client in one line, without its debug output."""
    text = str(error).partition("\n\nDebug source")[0]
    if _METADATA_SERVICE in text:
        return "no credentials were found in the environment, and this machine has no role to take them from"
    if "redirect without LOCATION" in text:
        return "it lies in another region: set AWS_REGION"
    code, message, status = _CODE.search(text), _SAID.search(text), _STATUS.search(text)
    if code is not None:
        return f"{code[1]}{f': {message[1]}' if message else ''}{f' (HTTP {status[1]})' if status else ''}"
    if status is not None:  # The response to a HEAD has no body.
        return f"HTTP {status[1]}"
    return " ".join(_URL.sub("", text).split())[:300]


def _listed(found: Any) -> Listed:
    return Listed(found["path"], found["size"], found["last_modified"], found["version"])
