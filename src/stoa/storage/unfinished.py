"""Uploads in parts that nobody ended: what a server that died in the middle of one has left in an S3 bucket. They hold
storage, and no listing of objects shows them.

Two requests that the client of buckets does not have, signed here. Where its credentials come from a role of the
machine there is no key to sign with; a lifecycle rule of the bucket ends such uploads there.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Final
from urllib.parse import quote, unquote
from xml.etree.ElementTree import Element, ParseError

import structlog

from stoa.db.blobs import BlobsUnavailable
from stoa.outbound import Outbound, signing
from stoa.storage.addresses import is_loopback
from stoa.storage.bucket import Bucket

ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
SECONDS_MAX: Final = 10.0
PAGES_MAX: Final = 100
_log = structlog.get_logger("stoa.blobs")


@dataclass(frozen=True, slots=True)
class Unfinished:
    key: str
    upload_id: str
    began_at: datetime

    @property
    def name(self) -> str:
        return f"{UnfinishedUploads.PREFIX}{quote(self.upload_id, safe='')}"


@dataclass(frozen=True, slots=True)
class Keys:
    """Of an account at S3. `endpoint` is where its own tools are told to find the server."""

    key_id: str
    secret: str
    token: str | None
    region: str
    endpoint: str | None


class UnfinishedUploads:
    PREFIX: ClassVar[str] = "upload:"

    def __init__(self, bucket: Bucket, outbound: Outbound, keys: Keys) -> None:
        self._bucket = bucket
        self._outbound = outbound
        self._keys = keys

    async def list(self, kind: str) -> AsyncIterator[Sequence[Unfinished]]:
        """Of one kind of files. Nothing where the server does not list them."""
        below = "/".join(filter(None, (self._bucket.address.prefix, kind, "")))
        further: list[tuple[str, str]] = []
        for _ in range(PAGES_MAX):
            query = [("prefix", below), ("uploads", ""), *further]
            try:
                status, body = await self._send("GET", "", query)
            except BlobsUnavailable:
                status, body = await self._send("GET", "", query)
            if status != 200:
                _log.warning("unfinished uploads cannot be listed", status=status)
                return
            found, further = _listing(body)
            if mine := [one for one in found if one.key.startswith(below)]:
                yield mine
            if not further:
                return

    async def abort(self, kind: str, name: str) -> bool:
        upload_id = unquote(name.removeprefix(self.PREFIX))
        async for uploads in self.list(kind):
            for one in uploads:
                if one.upload_id == upload_id:
                    status, _ = await self._send("DELETE", f"/{one.key}", [("uploadId", upload_id)])
                    return status in {200, 204, 404}
        return False

    async def _send(self, method: str, path: str, query: Sequence[tuple[str, str]]) -> tuple[int, bytes]:
        from aiohttp import ClientError  # noqa: PLC0415 — loaded at the first outbound call
        from yarl import URL  # noqa: PLC0415

        from stoa.outbound.client import client, read_bounded  # noqa: PLC0415

        keys, bucket = self._keys, self._bucket.address.bucket
        named = self._bucket.connection.endpoint or keys.endpoint
        endpoint = URL(named or f"https://s3.{keys.region}.amazonaws.com")
        quoted = f"{endpoint.raw_path.rstrip('/')}/{bucket}" + "/".join(
            signing.quoted(part) for part in path.split("/")
        )
        url = URL(f"{endpoint.origin()}{quoted}?{signing.query_string(query)}", encoded=True)
        port = "" if url.is_default_port() else f":{url.port}"
        headers = signing.signed(
            f"{url.raw_host}{port}",
            quoted,
            query,
            key_id=keys.key_id,
            secret=keys.secret,
            token=keys.token,
            region=keys.region,
            now=datetime.now(UTC),
            method=method,
        )
        outbound = self._outbound.trusted()
        if is_loopback(url.host or ""):
            outbound = outbound.direct()
        try:
            async with (
                client(outbound, seconds_max=SECONDS_MAX) as session,
                session.request(method, url, headers=headers, allow_redirects=False) as answer,
            ):
                return answer.status, await read_bounded(answer, ANSWER_BYTES_MAX)
        except (ClientError, OSError, ValueError) as error:
            raise BlobsUnavailable("The files of this server cannot be reached just now.") from error


def _listing(body: bytes) -> tuple[list[Unfinished], list[tuple[str, str]]]:
    """A page, and how to ask for the next. Raises BlobsUnavailable for what is no listing."""
    from defusedxml import DefusedXmlException  # noqa: PLC0415 — a server with a directory does without it
    from defusedxml.ElementTree import fromstring  # noqa: PLC0415

    try:
        tree: Element = fromstring(body)
        space = tree.tag.partition("}")[0] + "}" if tree.tag.startswith("{") else ""
        found = [
            Unfinished(
                one.findtext(f"{space}Key") or "",
                one.findtext(f"{space}UploadId") or "",
                datetime.fromisoformat(one.findtext(f"{space}Initiated") or "").astimezone(UTC),
            )
            for one in tree.iter(f"{space}Upload")
        ]
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise BlobsUnavailable("The bucket did not answer with a listing of uploads.") from error
    if (tree.findtext(f"{space}IsTruncated") or "").lower() != "true":
        return found, []
    markers = (("key-marker", "NextKeyMarker"), ("upload-id-marker", "NextUploadIdMarker"))
    return found, [(name, tree.findtext(f"{space}{tag}") or "") for name, tag in markers]
