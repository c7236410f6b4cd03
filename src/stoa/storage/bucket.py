"""Requests to a bucket: each bounded in time, tried again where that may help, its failures of one kind.

Two clients with different patience: a look, a deletion and a listing may be made while a transaction waits for them,
and end within seconds; content takes longer. The client library starts its timeout with a request and counts the body
in, so nothing is read or sent at the pace of somebody else: content moves in blocks that fit into memory.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import structlog

from stoa.db.blobs import BlobsUnavailable
from stoa.kernel.metrics import Counter
from stoa.storage.addresses import BucketAddress, Reaching

if TYPE_CHECKING:
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Store

    Store = S3Store | GCSStore | AzureStore

PART_BYTES: Final = 8 * 1024 * 1024
"""Larger content is sent in parts of this size: 10,000 of them are 80 GB, and the largest single PUT is 5 GB."""
PARTS_AT_ONCE: Final = 2
UPLOADS_MAX: Final = 8
"""At once on a node. Each holds up to three parts in memory."""
QUICK_SECONDS_MAX: Final = 12.0
"""A look or a deletion, with its retries."""
BLOCK_SECONDS_MAX: Final = 90.0
"""A block that is read, or a single PUT, with its retries."""
UPLOAD_SECONDS_MAX: Final = 1800.0
"""An upload in parts. S3 dates an object by the begin of its upload, and orphans are those of over an hour."""
CLOSE_SECONDS_MAX: Final = 5.0
LISTED_AT_ONCE: Final = 1_000
OPERATIONS: Final = ("look", "read", "write", "delete", "list")
_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>([^<]{1,100})</Code>")
_SAID: Final = re.compile(r"<Message>([^<]{1,300})</Message>")
_METADATA_SERVICE: Final = "169.254.169.254"
_log = structlog.get_logger("stoa.blobs")
T = TypeVar("T")


class BucketRefused(BlobsUnavailable):
    """The bucket answers, and says no: it is not there, or not for these credentials. Waiting does not help. `reason`
    is what it says, for the operator."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            "The files of this server cannot be reached: their bucket refuses. Tell the operator.",
            retry_after_seconds=30,
        )
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Listed:
    """An object. `version` is None or "null" where the bucket keeps none."""

    key: str
    size: int
    changed_at: datetime
    version: str | None


class Bucket:
    """Keys are below the address's prefix. Methods raise BlobsUnavailable."""

    def __init__(self, address: BucketAddress, reaching: Reaching) -> None:
        self.address = address
        self.reaching = reaching
        self.failures = Counter(
            "stoa_blob_failures",
            "Requests to the bucket of files that failed, retries and all.",
            ("operation",),
            known=[(operation,) for operation in OPERATIONS],
        )
        self._quick: Store | None = None
        self._patient: Store | None = None
        self._uploads = asyncio.Semaphore(UPLOADS_MAX)
        self._ending: set[asyncio.Future[Any]] = set()

    async def close(self) -> None:
        """Waits a moment for uploads that were given up, so that they take their parts away."""
        if self._ending:
            await asyncio.wait(self._ending, timeout=CLOSE_SECONDS_MAX)

    async def head(self, key: str) -> Listed | None:
        """None where there is no such object."""
        import obstore  # noqa: PLC0415 — a server with a directory does without it

        with suppress(FileNotFoundError):
            return _listed(await self._call("look", obstore.head_async(self._look_store, key), QUICK_SECONDS_MAX))
        return None

    async def read(self, key: str, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`, which the object has. Raises FileNotFoundError."""
        import obstore  # noqa: PLC0415

        request = obstore.get_range_async(self._content_store, key, start=start, end=end)
        block = bytes(await self._call("read", request, BLOCK_SECONDS_MAX))
        if len(block) != end - start:
            raise self._failed("read", f"{key}: {len(block)} bytes came of {end - start}")
        return block

    async def put(self, key: str, content: bytes) -> None:
        """In one request."""
        import obstore  # noqa: PLC0415

        request = obstore.put_async(self._content_store, key, content, use_multipart=False)
        async with self._uploads:
            try:
                await self._call("write", request, BLOCK_SECONDS_MAX)
            except FileNotFoundError as error:
                raise self._refused("write", error) from error

    async def put_parts(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        """In parts. Where it fails or is given up, what was sent is taken away again, as far as the bucket can be
        reached."""
        import obstore  # noqa: PLC0415

        source = _Abandonable(pieces)
        async with self._uploads:
            request = obstore.put_async(
                self._content_store,
                key,
                source,
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
            # Cancelling the request would leave its parts in the bucket: it ends by its source instead.
            sending = asyncio.ensure_future(request)
            try:
                await self._call("write", asyncio.shield(sending), UPLOAD_SECONDS_MAX)
            except FileNotFoundError as error:
                raise self._refused("write", error) from error
            finally:
                if not sending.done():
                    source.abandon()
                    self._ending.add(sending)
                    sending.add_done_callback(self._ended)

    async def delete(self, key: str) -> None:
        """Also fine where there is no such object."""
        import obstore  # noqa: PLC0415

        with suppress(FileNotFoundError):
            await self._call("delete", obstore.delete_async(self._look_store, key), QUICK_SECONDS_MAX)

    async def list(self, prefix: str | None = None) -> AsyncGenerator[Sequence[Listed]]:
        """Objects below `prefix`, in batches."""
        import obstore  # noqa: PLC0415

        stream = obstore.list(self._look_store, prefix, chunk_size=LISTED_AT_ONCE)
        while True:
            try:
                batch = await self._call("list", anext(stream), QUICK_SECONDS_MAX)
            except StopAsyncIteration:
                return
            except FileNotFoundError as error:
                raise self._refused("list", error) from error
            yield [_listed(one) for one in batch]

    def config(self) -> dict[str, Any]:
        """What the client works with, credentials that stand in the environment among it."""
        return cast("dict[str, Any]", self._look_store.config)

    @property
    def _look_store(self) -> "Store":
        if self._quick is None:
            self._quick = self._made(timeout=5, retries=2, retry_seconds=8, backoff_seconds_max=1)
        return self._quick

    @property
    def _content_store(self) -> "Store":
        if self._patient is None:
            self._patient = self._made(timeout=60, retries=4, retry_seconds=60, backoff_seconds_max=4)
        return self._patient

    def _made(self, *, timeout: int, retries: int, retry_seconds: int, backoff_seconds_max: int) -> "Store":
        from obstore.exceptions import BaseError  # noqa: PLC0415
        from obstore.store import AzureStore, GCSStore, S3Store  # noqa: PLC0415

        client: ClientConfig = {"connect_timeout": "3s", "timeout": f"{timeout}s", "user_agent": "stoa"}
        reaching, endpoint = self.reaching, self.reaching.endpoint
        if endpoint is not None and endpoint.startswith("http://"):
            client["allow_http"] = True
        if reaching.ca is not None:
            client["root_certificate"] = reaching.ca
        if (proxy := reaching.proxy()) is not None:
            client["proxy_url"] = proxy
            client["proxy_excludes"] = ",".join(("localhost", "127.0.0.1", "::1", *filter(None, (reaching.no_proxy,))))
        retry: RetryConfig = {
            "max_retries": retries,
            "retry_timeout": timedelta(seconds=retry_seconds),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=backoff_seconds_max),
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
            # Other servers than Amazon's know no deletion of many objects at once, or want a checksum with it.
            s3: Any = {"disable_bulk_delete": True, **({"endpoint": endpoint} if endpoint else {})}
            return S3Store(name, prefix=prefix, config=s3, client_options=client, retry_config=retry)
        except BaseError as error:
            raise BucketRefused(reason_of(error)) from error

    async def _call(self, operation: str, request: Awaitable[T], seconds_max: float) -> T:
        """Raises FileNotFoundError where the bucket answers 404, BlobsUnavailable for all else."""
        from obstore.exceptions import (  # noqa: PLC0415
            BaseError,
            NotSupportedError,
            PermissionDeniedError,
            UnauthenticatedError,
        )

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
    """An iterator that can be made to fail by who did not start it."""

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
    """Whether an error of the client says no, rather than that nobody answered."""
    if _METADATA_SERVICE in text:  # No credentials were given, and this machine has no role either.
        return True
    found = _STATUS.search(text)
    return found is not None and 300 <= int(found[1]) < 500 and found[1] not in {"408", "409", "412", "416", "429"}


def reason_of(error: Exception) -> str:
    """What an error of the client says, in a line without its debug output."""
    text = str(error).partition("\n\nDebug source")[0]
    if _METADATA_SERVICE in text:
        return "no credentials were found in the environment, and this machine has no role to take them from"
    code, said, status = _CODE.search(text), _SAID.search(text), _STATUS.search(text)
    if code is not None:
        return f"{code[1]}{f': {said[1]}' if said else ''}{f' (HTTP {status[1]})' if status else ''}"
    return " ".join(text.split())[:300]


def _listed(found: Any) -> Listed:
    return Listed(found["path"], found["size"], found["last_modified"], found["version"])
