"""A bucket of S3 or a compatible server: listed page by page; an object is fetched where its ETag changed."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from ssl import SSLContext
from typing import Final
from xml.etree.ElementTree import Element, ParseError

import aiohttp
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse
from yarl import URL

from stoa.outbound import signing
from stoa.sources import rules
from stoa.sources.configs import S3Config
from stoa.sources.globs import Globs
from stoa.sources.ports import Remember
from stoa.sources.providers.listing import Listed, changed
from stoa.sources.providers.spool import too_large
from stoa.sources.providers.web import Answer, Web, WebError
from stoa.sources.types import Failed, Fetched, Finding, SourceError

ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
"""The limit of bytes of a listing of 1,000 objects."""
_CODES: Final = {401: "credentials_refused", 403: "credentials_refused", 404: "origin_not_found"}


class S3Origin:
    def __init__(
        self,
        config: S3Config,
        secrets: Mapping[str, str],
        session: aiohttp.ClientSession,
        tls: SSLContext | None = None,
    ) -> None:
        self._config = config
        self._secrets = secrets
        self._web = Web(session, tls)
        self._globs = Globs(config.include, config.exclude)
        if config.endpoint is not None:  # Path-style addresses: not every compatible server has host names for buckets.
            self._root, self._path = (
                URL(config.endpoint).origin(),
                f"{URL(config.endpoint).raw_path.rstrip('/')}/{config.bucket}",
            )
        elif "." in config.bucket:  # A wildcard certificate does not cover a bucket's name with dots.
            self._root, self._path = URL(f"https://s3.{config.region}.amazonaws.com"), f"/{config.bucket}"
        else:
            self._root, self._path = URL(f"https://{config.bucket}.s3.{config.region}.amazonaws.com"), ""

    async def walk(self, remember: Remember) -> AsyncGenerator[Finding]:
        token: str | None = None
        while True:
            listed, token = await self._list(token)
            async with aclosing(changed(listed, remember, self._fetch)) as findings:
                async for finding in findings:
                    yield finding
            if token is None:
                return

    async def _list(self, token: str | None) -> tuple[list[Listed[None]], str | None]:
        """A page of the listing. Raises SourceError."""
        query = [
            ("list-type", "2"),
            ("max-keys", "1000"),
            *([("prefix", self._config.prefix)] if self._config.prefix else []),
        ]
        try:
            answer = await self._get(
                "/", [*query, *([("continuation-token", token)] if token else [])], ANSWER_BYTES_MAX
            )
        except WebError as error:
            raise SourceError(error.code, error.message, retryable=error.retryable) from error
        if answer.content is None:
            elsewhere = answer.headers.get("x-amz-bucket-region", self._config.region)
            hint = f" It lies in the region {elsewhere}." if elsewhere != self._config.region else ""
            message = (
                f"The bucket {self._config.bucket} cannot be listed: {self._root.host} answered {answer.status}.{hint}"
            )
            raise SourceError(
                _CODES.get(answer.status, "origin_failed"),
                message,
                retryable=answer.status >= 500 or answer.status == 429,
            )
        try:
            with answer.content.file as file:
                objects, further = _listing(parse(file).getroot())
            return [
                one for one in objects if not one.origin.endswith("/") and self._globs.take_file(one.origin)
            ], further
        except (ParseError, DefusedXmlException, ValueError) as error:
            message = f"{self._root.host} did not answer with the listing of a bucket: {error}"
            raise SourceError("origin_failed", message) from error

    async def _fetch(self, listed: Listed[None]) -> Finding:
        key = listed.origin
        if listed.state["size"] > rules.ITEM_BYTES_MAX:
            return Failed(key, "too_large", too_large("The object", rules.ITEM_BYTES_MAX))
        try:
            answer = await self._get(f"/{key}", [], rules.ITEM_BYTES_MAX)
        except WebError as error:
            return Failed(key, error.code, error.message)
        if answer.content is None:
            return Failed(
                key, _CODES.get(answer.status, "origin_failed"), f"{self._root.host} answered {answer.status}."
            )
        mime_type = answer.mime_type if answer.mime_type not in ("", "binary/octet-stream") else None
        metadata = {
            "source": key,
            "path": key,
            "bucket": self._config.bucket,
            "url": f"s3://{self._config.bucket}/{key}",
        }
        # The state of what was downloaded: the object may have changed since it was listed.
        state = {"etag": answer.headers.get("etag", listed.state["etag"]).strip('"'), "size": answer.content.size}
        return Fetched(key, key, mime_type, answer.content, metadata, state)

    async def _get(self, path: str, query: list[tuple[str, str]], bytes_max: int) -> Answer:
        """Raises WebError."""
        quoted = self._path + "/".join(signing.quoted(part) for part in path.split("/"))
        url = URL(f"{self._root}{quoted}{'?' if query else ''}{signing.query_string(query)}", encoded=True)
        headers: Mapping[str, str] = {}
        if "access_key_id" in self._secrets:
            host = (
                f"{url.host}:{url.explicit_port}"
                if url.explicit_port is not None and not url.is_default_port()
                else str(url.host)
            )
            headers = signing.signed(
                host,
                quoted,
                query,
                key_id=self._secrets["access_key_id"],
                secret=self._secrets["secret_access_key"],
                token=self._secrets.get("session_token"),
                region=self._config.region,
                now=datetime.now(UTC),
            )
        return await self._web.get(url, headers, bytes_max)


def _listing(tree: Element | None) -> tuple[list[Listed[None]], str | None]:
    """Raises ValueError."""
    if tree is None:
        raise ValueError("it is empty")
    space = tree.tag.partition("}")[0] + "}" if tree.tag.startswith("{") else ""
    if tree.tag.rpartition("}")[2] != "ListBucketResult":
        raise ValueError(f"it is <{tree.tag.rpartition('}')[2]}>")
    found: list[Listed[None]] = []
    for one in tree.iter(f"{space}Contents"):
        state = {
            "etag": (one.findtext(f"{space}ETag") or "").strip('"'),
            "size": int(one.findtext(f"{space}Size") or 0),
        }
        found.append(Listed(one.findtext(f"{space}Key") or "", state, None))
    return found, tree.findtext(f"{space}NextContinuationToken") or None
