"""Uploads in parts that nobody ended: what a server that died in the middle of one has left in an S3 bucket. They hold
storage, and no listing of objects shows them.

Two requests that the client of buckets does not have, signed here with its credentials. Where those come from a role
of the machine there are none to sign with; a lifecycle rule of the bucket ends such uploads there.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from urllib.parse import quote, unquote
from xml.etree.ElementTree import Element, ParseError

import structlog

from stoa.db.blobs import BlobsUnavailable
from stoa.outbound import Outbound, signing
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


class UnfinishedUploads:
    PREFIX: ClassVar[str] = "upload:"

    def __init__(self, bucket: Bucket, outbound: Outbound) -> None:
        self._bucket = bucket
        self._outbound = outbound

    async def list(self, kind: str) -> AsyncIterator[Sequence[Unfinished]]:
        """Of one kind of files. Nothing where they cannot be listed."""
        config = self._bucket.config()
        if not {"access_key_id", "secret_access_key"} <= config.keys():
            return
        below = "/".join(filter(None, (self._bucket.address.prefix, kind, "")))
        further: list[tuple[str, str]] = []
        for _ in range(PAGES_MAX):
            status, body = await self._send("GET", "", [("prefix", below), ("uploads", ""), *further], config)
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
                    config = self._bucket.config()
                    status, _ = await self._send("DELETE", f"/{one.key}", [("uploadId", upload_id)], config)
                    return status in {200, 204, 404}
        return False

    async def _send(
        self, method: str, path: str, query: Sequence[tuple[str, str]], config: Mapping[str, Any]
    ) -> tuple[int, bytes]:
        from aiohttp import ClientError  # noqa: PLC0415 — loaded at the first outbound call
        from yarl import URL  # noqa: PLC0415

        from stoa.outbound.client import client, read_bounded  # noqa: PLC0415

        region = config.get("region") or config.get("default_region") or "us-east-1"
        bucket = self._bucket.address.bucket
        endpoint = URL(str(config.get("endpoint") or f"https://s3.{region}.amazonaws.com"))
        quoted = f"{endpoint.raw_path.rstrip('/')}/{bucket}" + "/".join(
            signing.quoted(part) for part in path.split("/")
        )
        url = URL(f"{endpoint.origin()}{quoted}?{signing.query_string(query)}", encoded=True)
        port = "" if url.is_default_port() else f":{url.port}"
        headers = signing.signed(
            f"{url.raw_host}{port}",
            quoted,
            query,
            key_id=config["access_key_id"],
            secret=config["secret_access_key"],
            token=config.get("session_token") or config.get("token"),
            region=str(region),
            now=datetime.now(UTC),
            method=method,
        )
        outbound = self._outbound.trusted()
        if url.host in {"localhost", "127.0.0.1", "::1"}:
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
