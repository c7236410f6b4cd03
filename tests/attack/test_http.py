"""What a stranger can send to the port: heads, bodies and connections that cost the sender little."""

import asyncio
import json
import re

import pytest

from tests.support.hostile_json import HOSTILE_JSON
from tests.support.targets import Target

AUTHORIZED = b"Authorization: Bearer %b\r\n"


def head(method: str = "GET", path: str = "/health", *fields: bytes) -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % (
        method.encode(),
        path.encode(),
        b"".join(field + b"\r\n" for field in fields),
    )


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    return int(answer.split(b" ", 2)[1])


def refusal(answer: bytes, expected: int) -> dict[str, object]:
    """The one answer on this connection, in the envelope, with its id."""
    assert status(answer) == expected, answer[:500]
    top, _, body = answer.partition(b"\r\n\r\n")
    assert b"x-request-id" in top.lower()
    return json.loads(body)["error"]


# --- heads -----------------------------------------------------------------------------------------------------------
async def _pour(target: Target, start: bytes, piece: bytes, bytes_max: int) -> tuple[bytes, int]:
    """Sends `piece` again and again until the server closes; gives its answer and how much it took."""
    reader, writer = await target.connect()
    reading = asyncio.create_task(reader.read(-1))
    sent = 0
    try:
        async with asyncio.timeout(20):
            writer.write(start)
            while sent < bytes_max and not reading.done():
                writer.write(piece)
                await writer.drain()
                sent += len(piece)
    except (ConnectionError, TimeoutError):
        pass
    try:
        answer = await asyncio.wait_for(reading, 10)
    except (ConnectionError, TimeoutError):
        answer = b""
    writer.close()
    return answer, sent


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"GET /", b"a" * 65536),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: ", b"a" * 65536),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n", b"a" * 65536),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n", b"X-Many: 1\r\n" * 6000),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n", b"X: " + b"v" * 1000 + b"\r\n"),
    ],
    ids=["line", "value", "name", "fields", "large fields"],
)
async def test_heads_have_a_limit(target: Target, start: bytes, piece: bytes) -> None:
    async with target.undisturbed():
        for _ in range(2):
            answer, sent = await _pour(target, start, piece, 128 * 1024 * 1024)
            assert sent < 16 * 1024 * 1024, f"{sent} bytes were taken"
            assert refusal(answer, 431)["code"] == "head_too_large"


async def test_two_hundred_fields_are_taken_and_one_more_is_not(target: Target) -> None:
    fields = [b"X-%d: 1" % number for number in range(199)]
    assert status(await target.exchange(head("GET", "/health", *fields[:-1], b"Connection: close"))) == 200
    refusal(await target.exchange(head("GET", "/health", *fields, b"Connection: close")), 431)


async def test_trailers_and_chunk_extensions_have_a_limit(target: Target) -> None:
    start = head("POST", "/v1/conversations", AUTHORIZED.strip() % target.key.encode(), b"Transfer-Encoding: chunked")
    async with target.undisturbed():
        for begun, piece in (
            (start + b"0\r\nX-Trailer: ", b"a" * 65536),
            (start + b"0\r\n", b"X: 1\r\n" * 8000),
            (start + b"1;", b"e" * 65536),
        ):
            answer, sent = await _pour(target, begun, piece, 128 * 1024 * 1024)
            assert sent < 16 * 1024 * 1024
            assert status(answer) in (400, 415, 431)


# --- requests that two readers would read differently ----------------------------------------------------------------
SMUGGLED = b"GET /v1/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nabcde",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nabcde",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nabcde",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        (
            b"POST /v1/runs HTTP/1.1\r\nHost: x\r\n"
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        b"POST /v1/runs HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-Folded: a\r\n b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\n Host: y\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\nHost: x\n\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-Nul: a\x00b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX Space: a\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-Bare: a\rb\r\n\r\n",
        b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 24,
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
        b"\x00" * 4096,
        bytes(range(256)) * 40,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"{}\r\n\r\n",
    ],
)
async def test_ambiguous_requests_and_garbage_are_refused_and_the_connection_is_closed(
    target: Target, request_: bytes
) -> None:
    answer = await target.exchange(request_ + SMUGGLED, 6)
    assert status(answer) in (400, 401), answer[:300]
    assert len(re.findall(rb"HTTP/1.1 \d", answer)) == 1, "nothing behind it is read as a request of its own"
    assert b"connection: close" in answer.lower()


async def test_a_client_that_offers_http2_is_answered_in_http1(target: Target) -> None:
    """As curl and Java do: by `Upgrade: h2c`, on a request that may have a body, and then others follow."""
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
    key = AUTHORIZED.strip() % target.key.encode()
    body = b'{"name": "upgraded"}'
    posted = head(
        "POST", "/v1/projects", key, b"Content-Type: application/json", b"Content-Length: %d" % len(body), *offer
    )
    last = head("GET", "/health", b"Connection: close")
    answer = await target.exchange(head("GET", "/health", *offer) + posted + body + last)
    assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [200, 201, 200], answer


async def test_pipelined_requests_are_answered_in_order_and_bounded(target: Target) -> None:
    few = await target.exchange(head() * 8 + head("GET", "/v9/none", b"Connection: close"))
    assert few.count(b"HTTP/1.1 200") == 8
    assert few.rstrip().endswith(b"}")
    async with target.undisturbed():
        for _ in range(3):
            await _pour(target, b"", head() * 2000, 32 * 1024 * 1024)


# --- bodies ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("length", [b"Content-Length: %d" % (100 * 1024 * 1024), b"Transfer-Encoding: chunked"])
async def test_without_a_key_no_body_is_read(target: Target, length: bytes) -> None:
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n" if length.startswith(b"T") else b"x" * 65536

    async def poured(path: str, kind: bytes) -> None:
        start = head("POST", path, b"Content-Type: " + kind, length)
        answer, sent = await _pour(target, start, piece, 100 * 1024 * 1024)
        assert status(answer) == (404 if "v9" in path else 401), (path, answer[:200])
        assert sent < 20 * 1024 * 1024, f"{sent} bytes of {path} were taken"

    async with target.undisturbed(), asyncio.TaskGroup() as group:
        for path, kind in (
            ("/v1/conversations", b"application/json"),
            ("/v1/tools/import", b"application/json"),
            ("/v1/knowledgebases/00000000-0000-7000-8000-000000000001/upload", b"multipart/form-data; boundary=b"),
            ("/v1/conversations/00000000-0000-7000-8000-000000000001/files", b"multipart/form-data; boundary=b"),
            ("/v3/conversations/00000000-0000-7000-8000-000000000001/messages", b"application/json"),
            ("/kb/00000000-0000-7000-8000-000000000001/", b"multipart/form-data; boundary=b"),
            ("/v9/nothing", b"application/json"),
        ):
            group.create_task(poured(path, kind))


async def test_a_body_of_the_wrong_kind_or_size_is_refused_on_its_head(target: Target) -> None:
    key = AUTHORIZED.strip() % target.key.encode()
    conversation = await target.node.conversation()
    large = b"Content-Length: %d" % (100 * 1024 * 1024)
    for path, kind, expected in (
        ("/v1/conversations", b"multipart/form-data; boundary=b", 415),
        ("/v1/conversations", b"application/json", 413),
        (f"/v3/conversations/{conversation}/messages", b"application/json", 413),
        (f"/v3/conversations/{conversation}/messages", b"multipart/form-data; boundary=b", 415),
        (f"/v1/conversations/{conversation}/files", b"application/json", 415),
    ):
        begun = asyncio.get_running_loop().time()
        reader, writer = await target.connect()
        writer.write(head("POST", path, key, b"Content-Type: " + kind, large))
        answer = await asyncio.wait_for(reader.readuntil(b"}"), 5)
        writer.close()
        assert status(answer) == expected, (path, answer)
        assert asyncio.get_running_loop().time() - begun < 2, "without waiting for the body"


async def test_an_upload_goes_to_disk_and_not_into_memory(target: Target) -> None:
    conversation = await target.node.conversation()
    async with target.undisturbed(), target.node.client(120) as client:
        content = b"text\n" * (100 * 1024 * 1024 // 5)
        response = await client.post(
            f"/v1/conversations/{conversation}/files",
            files={"file": ("large.bin", content, "application/octet-stream")},
        )
        assert response.status_code in (201, 400), response.text


@pytest.mark.parametrize("name", HOSTILE_JSON)
async def test_no_json_holds_up_the_server(target: Target, name: str) -> None:
    body = HOSTILE_JSON[name]
    conversation = await target.node.conversation()
    large = body.replace(b'{"metadata"', b'{"content": "Hi", "metadata"').replace(b'{"title"', b'{"content"')
    async with target.undisturbed(), target.node.client() as client:
        for method, path, content in (
            ("POST", "/v1/conversations", body),
            ("POST", "/v1/tools/import", b'{"document": ' + body + b"}"),
            ("POST", f"/v3/conversations/{conversation}/messages", large),
        ):
            for _ in range(3):
                response = await client.request(
                    method, path, content=content, headers={"Content-Type": "application/json"}
                )
                assert response.status_code in (200, 201, 400, 413), (path, response.text[:300])


# --- time and number -------------------------------------------------------------------------------------------------
@pytest.mark.timeout(90)
async def test_slow_clients_are_disconnected(target: Target) -> None:
    """Many at once: silent ones, heads and bodies by the drop, and kept connections without a request."""
    key = AUTHORIZED.strip() % target.key.encode()
    body = head("POST", "/v1/conversations", key, b"Content-Type: application/json", b"Content-Length: 1000000")

    async def drip(start: bytes, piece: bytes) -> tuple[float, bytes]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        reader, writer = await target.connect()
        writer.write(start)
        reading = asyncio.create_task(reader.read(-1))
        try:
            while not reading.done():
                writer.write(piece)
                await asyncio.wait([reading], timeout=0.5)
            answer = await reading
        except ConnectionError:
            answer = b""
        writer.close()
        return loop.time() - begun, answer

    async with target.undisturbed():
        kinds = [
            (b"", b"", 0),
            (b"GET /health HTTP/1.1\r\n", b"X: 1\r\n", 408),
            (body, b"x", 408),
            (b"\r\n", b"\r\n", 0),
        ]
        dripped = await asyncio.gather(*(drip(start, piece) for start, piece, _ in kinds for _ in range(20)))
    for number, (seconds, answer) in enumerate(dripped):
        wanted = kinds[number // 20][2]
        assert seconds < 40, (number, seconds)
        assert not wanted or status(answer) == wanted, answer


async def test_one_address_has_so_many_connections_and_others_are_served(target: Target) -> None:
    async with target.undisturbed():
        opened = [await target.connect() for _ in range(260)]
        answers = [reader for reader, _ in opened[230:]]
        refused = await asyncio.wait_for(answers[0].read(-1), 10)
        assert refusal(refused, 503)["code"] == "unavailable"
        assert b"retry-after:" in refused.lower()
        for _, writer in opened:
            writer.close()
    await target.node.call("GET", "/ready")
