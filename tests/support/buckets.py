"""An S3 server on loopback that is as strict as the strictest S3-compatible server, and fails where a test says.

It checks the signature (version 4) and the hash of every body, supports neither checksum headers nor chunked
signatures, keeps parts until their upload is completed or aborted, and answers a request for a missing object with 403
if the caller may not list.
"""

import hashlib
import hmac
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.etree.ElementTree import fromstring
from xml.sax.saxutils import escape

import pytest

KEY_ID, SECRET, REGION = "AKIDEXAMPLE", "secret/of+the=bucket", "eu-central-1"
CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION}
PART_NUMBERS_MAX: Final = 10_000


@contextmanager
def credentials() -> Iterator[None]:
    """Sets them in the environment, where a server looks for them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield


@dataclass(frozen=True)
class Fault:
    """The outcome of a request: `status` is answered instead (500, 503); or the connection is closed `before` the
    request is carried out, `after` it, or in the middle of the `body` of its answer; `hang` never answers. `lie`
    answers 200 with an error in the body, and does nothing."""

    kind: str
    forever: bool = False
    """Also all later requests."""


@dataclass
class Object:
    content: bytes
    changed_at: datetime
    version: str | None = None


@dataclass
class Upload:
    key: str
    began_at: datetime
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class BucketServer:
    """`objects` by key. `requests` are `METHOD key?query` of all requests. `faults` by the number of the request,
    counted from 0 since the last `reset`."""

    url: str = ""
    bucket: str = "files"
    objects: dict[str, Object] = field(default_factory=dict)
    old: list[tuple[str, bytes]] = field(default_factory=list)
    uploads: dict[str, Upload] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    faults: dict[int, Fault] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)
    """Of the operations get, put, delete, list."""
    region: str = REGION
    versioned: bool = False
    skewed: bool = False
    page_keys: int = 1_000
    released: threading.Event = field(default_factory=threading.Event)
    """Ends requests that hang."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: int = 0

    def reset(self, faults: Mapping[int, Fault] | None = None) -> None:
        with self.lock:
            self.requests.clear()
            self.faults = dict(faults or {})

    def clear(self) -> None:
        self.reset()
        with self.lock:
            for held in (self.objects, self.old, self.uploads, self.denied):
                held.clear()
            self.versioned = self.skewed = False
            self.region, self.page_keys = REGION, 1_000

    def fault(self) -> Fault | None:
        """The fault of the request that was counted last."""
        number = len(self.requests) - 1
        if number in self.faults:
            return self.faults[number]
        return next((one for at, one in self.faults.items() if one.forever and at <= number), None)

    def store(self, key: str, content: bytes, changed_at: datetime | None = None) -> Object:
        if self.versioned and key in self.objects:
            self.old.append((key, self.objects[key].content))
        self.numbers += 1
        version = f"v{self.numbers}" if self.versioned else None
        made = self.objects[key] = Object(content, changed_at or datetime.now(UTC), version)
        return made


@contextmanager
def bucket_server(bucket: str = "files") -> Iterator[BucketServer]:
    state = BucketServer(bucket=bucket)
    server = _Server(state)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="bucket server")
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        thread.join()
        server.close_all()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, state: BucketServer) -> None:
        self.state = state
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_all(self) -> None:
        """Ends connections that clients keep open, and so their threads."""
        for one in list(self._open):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that disconnects is no error."""


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


class _Cut(Exception):
    pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 — the names that http.server calls

    def _serve(self) -> None:
        state = self.server.state
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        path = unquote(parts.path).removeprefix("/")
        bucket, _, key = path.partition("/")
        with state.lock:
            state.requests.append(f"{self.command} {key}{f'?{parts.query}' if parts.query else ''}")
            fault = state.fault()
        try:
            if fault is not None:
                self._fail(fault)
            self._check(body, bucket)
            with state.lock:
                status, headers, answer = self._act(key, query, body)
            if fault is not None and fault.kind == "after":
                raise _Cut
            self._answer(status, headers, answer, cut=fault is not None and fault.kind == "body")
        except _Refused as refused:
            content = f"<Error><Code>{refused.code}</Code><Message>{escape(refused.message)}</Message></Error>"
            self._answer(refused.status, {"Content-Type": "application/xml"}, content.encode())
        except _Cut:
            self.close_connection = True
            self.connection.close()

    def _fail(self, fault: Fault) -> None:
        if fault.kind == "before":
            raise _Cut
        if fault.kind == "hang":
            self.server.state.released.wait(60)
            raise _Cut
        if fault.kind == "500":
            raise _Refused(500, "InternalError", "We encountered an internal error. Please try again.")
        if fault.kind == "503":
            raise _Refused(503, "SlowDown", "Please reduce your request rate.")
        if fault.kind == "lie":
            raise _Refused(200, "InternalError", "We encountered an internal error. Please try again.")

    def _check(self, body: bytes, bucket: str) -> None:
        state, headers = self.server.state, self.headers
        strange = [
            name for name in headers if name.lower().startswith(("x-amz-checksum", "x-amz-trailer", "x-amz-sdk"))
        ]
        if strange or "aws-chunked" in (headers.get("Content-Encoding") or ""):
            raise _Refused(501, "NotImplemented", f"A header you provided implies functionality: {strange}")
        if state.skewed:
            raise _Refused(403, "RequestTimeTooSkewed", "The difference between the request time and now is too large.")
        if headers.get("x-amz-content-sha256") != hashlib.sha256(body).hexdigest():
            raise _Refused(400, "XAmzContentSHA256Mismatch", "The hash of the body is not what was signed.")
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8}/([^/]+)/s3/aws4_request), ?SignedHeaders=([^,]+), ?"
            r"Signature=([0-9a-f]{64})",
            headers.get("Authorization") or "",
        )
        if found is None or found[1] != KEY_ID:
            raise _Refused(403, "InvalidAccessKeyId", "The key that you provided does not exist.")
        if found[3] != state.region:
            message = f"The bucket is in this region: {state.region}. Please use this region to retry the request."
            raise _Refused(301, "PermanentRedirect", message)
        if self._signature(found[2], found[4], body) != found[5]:
            raise _Refused(403, "SignatureDoesNotMatch", "Check your key and signing method.")
        if bucket != state.bucket:
            raise _Refused(404, "NoSuchBucket", "The specified bucket does not exist")

    def _signature(self, scope: str, names: str, body: bytes) -> str:
        parts = urlsplit(self.path)
        pairs = sorted(parse_qsl(parts.query, keep_blank_values=True))
        query = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
        signed = "".join(f"{name}:{' '.join((self.headers.get(name) or '').split())}\n" for name in names.split(";"))
        path = quote(unquote(parts.path), safe="/-_.~")
        request = "\n".join([self.command, path, query, signed, names, hashlib.sha256(body).hexdigest()])
        key = f"AWS4{SECRET}".encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        hashed = hashlib.sha256(request.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{self.headers.get('x-amz-date')}\n{scope}\n{hashed}"
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    def _may(self, what: str) -> None:
        if what in self.server.state.denied:
            raise _Refused(403, "AccessDenied", "Access Denied")

    def _act(self, key: str, query: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        state = self.server.state
        if not key:
            self._may("list")
            return self._listed_uploads(query) if "uploads" in query else self._listed(query)
        if self.command in {"GET", "HEAD"}:
            return self._read(key)
        if self.command == "DELETE":
            self._may("delete")
            if "uploadId" in query:
                if state.uploads.pop(query["uploadId"], None) is None:
                    raise _Refused(404, "NoSuchUpload")
            elif (gone := state.objects.pop(key, None)) is not None and state.versioned:
                state.old.append((key, gone.content))
            return 204, {}, b""
        self._may("put")
        if self.command == "PUT" and "partNumber" not in query:
            return 200, _about(state.store(key, body)), b""
        return self._in_parts(key, query, body)

    def _in_parts(self, key: str, query: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        state = self.server.state
        if "uploads" in query:
            state.numbers += 1
            upload_id = f"upload/{state.numbers}+="
            state.uploads[upload_id] = Upload(key, datetime.now(UTC))
            answer = f"<InitiateMultipartUploadResult><Bucket>{state.bucket}</Bucket><Key>{escape(key)}</Key>"
            return 200, {}, f"{answer}<UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>".encode()
        upload = state.uploads.get(query["uploadId"])
        if upload is None or upload.key != key:
            raise _Refused(404, "NoSuchUpload")
        if self.command == "PUT":
            assert 1 <= int(query["partNumber"]) <= PART_NUMBERS_MAX
            upload.parts[int(query["partNumber"])] = body
            return 200, {"ETag": _tag(body)}, b""
        wanted = [
            (int(one.findtext("{*}PartNumber") or 0), one.findtext("{*}ETag"))
            for one in fromstring(body).iter("{*}Part")
        ] or [(int(one.findtext("PartNumber") or 0), one.findtext("ETag")) for one in fromstring(body).iter("Part")]
        if [number for number, _ in wanted] != sorted(number for number, _ in wanted) or not wanted:
            raise _Refused(400, "InvalidPartOrder")
        if any(number not in upload.parts or _tag(upload.parts[number]) != tag for number, tag in wanted):
            raise _Refused(400, "InvalidPart")
        # Amazon dates an object by the begin of its upload.
        made = state.store(key, b"".join(upload.parts[number] for number, _ in wanted), upload.began_at)
        del state.uploads[query["uploadId"]]
        answer = f"<CompleteMultipartUploadResult><Key>{escape(key)}</Key><ETag>{_tag(made.content)}</ETag>"
        return 200, _about(made), f"{answer}</CompleteMultipartUploadResult>".encode()

    def _read(self, key: str) -> tuple[int, dict[str, str], bytes]:
        state = self.server.state
        self._may("get")
        found = state.objects.get(key)
        if found is None:
            if "list" in state.denied:  # A caller who may not list must not learn what exists.
                raise _Refused(403, "AccessDenied", "Access Denied")
            raise _Refused(404, "NoSuchKey", "The specified key does not exist.")
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None:
            return 200, _about(found), found.content
        start, size = int(asked[1]), len(found.content)
        if start >= size:
            raise _Refused(416, "InvalidRange", "The requested range is not satisfiable")
        end = min(int(asked[2] or size - 1), size - 1)
        return 206, {**_about(found), "Content-Range": f"bytes {start}-{end}/{size}"}, found.content[start : end + 1]

    def _listed(self, query: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        state = self.server.state
        assert query.get("list-type") == "2", query
        after = query.get("continuation-token") or query.get("start-after") or ""
        keys = sorted(key for key in state.objects if key.startswith(query.get("prefix", "")) and key > after)
        page, more = keys[: state.page_keys], len(keys) > state.page_keys
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(state.objects[key].content)}</Size>"
            f"<LastModified>{state.objects[key].changed_at:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
            f"<ETag>{_tag(state.objects[key].content)}</ETag></Contents>"
            for key in page
        )
        further = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        answer = f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{further}{rows}</ListBucketResult>"
        return 200, {}, answer.encode()

    def _listed_uploads(self, query: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        state = self.server.state
        found = sorted((one.key, upload_id) for upload_id, one in state.uploads.items())
        found = [one for one in found if one[0].startswith(query.get("prefix", ""))]
        after = (query.get("key-marker", ""), query.get("upload-id-marker", ""))
        left = [one for one in found if one > after]
        page, more = left[: state.page_keys], len(left) > state.page_keys
        rows = "".join(
            f"<Upload><Key>{escape(key)}</Key><UploadId>{escape(upload_id)}</UploadId>"
            f"<Initiated>{state.uploads[upload_id].began_at:%Y-%m-%dT%H:%M:%S.000Z}</Initiated></Upload>"
            for key, upload_id in page
        )
        further = (
            f"<NextKeyMarker>{escape(page[-1][0])}</NextKeyMarker>"
            f"<NextUploadIdMarker>{escape(page[-1][1])}</NextUploadIdMarker>"
            if more
            else ""
        )
        namespace = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
        answer = f"<ListMultipartUploadsResult {namespace}><IsTruncated>{str(more).lower()}</IsTruncated>"
        return 200, {}, f"{answer}{further}{rows}</ListMultipartUploadsResult>".encode()

    def _answer(self, status: int, headers: Mapping[str, str], content: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", headers.get("Content-Length", str(len(content))) if status != 204 else "0")
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            raise _Cut


def _tag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


def _about(found: Object) -> dict[str, str]:
    version = {"x-amz-version-id": found.version} if found.version is not None else {}
    modified = format_datetime(found.changed_at, usegmt=True)
    return {"ETag": _tag(found.content), "Last-Modified": modified, "Accept-Ranges": "bytes", **version}
