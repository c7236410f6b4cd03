"""A proxy on loopback that records a client's requests and their answers, as golden requests.

An id from an answer is replaced by `{id 3}` wherever a later request uses it, and the answer says where it was
(`gives`); any other id in a request is the client's own, and is recorded as the same one each time. Recording again
changes only what the client itself generates differently each time, such as the times in an archive.
"""

import base64
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from email import message_from_bytes
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_GIVEN = re.compile(rf"{_UUID.pattern}|eyJ[\w-]+\.[\w-]+\.[\w-]+")
"""What later requests use of an answer: an id, or a connect token."""
_HOP = {"connection", "transfer-encoding", "content-length", "date", "server"}


class Recorder:
    """Between the client and the server at `upstream`. `secrets` (secret → name) are credentials in requests."""

    def __init__(self, upstream: str, secrets: Mapping[str, str], known: Mapping[str, str]) -> None:
        self._upstream = urlsplit(upstream).netloc
        self._secrets = secrets
        self._known = dict(known)
        """UUID → its placeholder."""
        self._given: dict[str, tuple[dict[str, Any], str]] = {}
        """UUID → the exchange whose answer contained it, and where."""
        self._own: dict[str, str] = {}
        self.exchanges: list[dict[str, Any]] = []
        self.command = ""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                upstream = HTTPConnection(recorder._upstream, timeout=120)
                upstream.request(self.command, self.path, body or None, dict(self.headers))
                answer = upstream.getresponse()
                data = answer.read()
                upstream.close()
                recorder._keep(self.command, self.path, dict(self.headers), body, answer.status, data)
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 — as the library asks for them

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _keep(self, method: str, path: str, headers: dict[str, str], body: bytes, status: int, data: bytes) -> None:
        at = urlsplit(path)
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        exchange: dict[str, Any] = {
            "command": self.command,
            "request": f"{method} {self._plain(at.path)}",
            "credential": self._secrets.get(token) or (self._named(token) if token in self._given else "none"),
        }
        if at.query:
            exchange["query"] = [[name, self._plain(value)] for name, value in parse_qsl(at.query)]
        if "If-Match" in headers:
            exchange["if_match"] = self._plain(headers["If-Match"])
        exchange |= self._body(headers.get("Content-Type", ""), body)
        exchange["status"] = status
        try:
            answered = json.loads(data)
        except ValueError:
            answered = None
        for place, value in _leaves(answered):
            self._give(exchange, place, value)
        if status < 300 and (shown := fields(answered)):
            exchange["fields"] = shown
        self.exchanges.append(exchange)

    def until(self, path: str, place: str, *wanted: str) -> bool:
        """Repeats until the texts at `place` of the answer (`data.*.status`) are among `wanted`, for at most a minute.
        The number of repetitions depends on time, so it is one golden line, which says what was waited for."""
        at = self._plain(urlsplit(path).path)
        self.exchanges.append({"command": self.command, "until": f"GET {at}", "place": place, "is": list(wanted)})
        token = next(secret for secret, name in self._secrets.items() if name == "key")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            upstream = HTTPConnection(self._upstream, timeout=30)
            upstream.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            answered = json.loads(upstream.getresponse().read())
            upstream.close()
            for where, value in _leaves(answered):
                self._give(self.exchanges[-1], where, value)
            if settled(answered, place, wanted):
                return True
            time.sleep(0.1)
        return False

    def _give(self, exchange: dict[str, Any], place: str, value: str) -> None:
        if _GIVEN.fullmatch(value) and value not in self._known and value not in self._own:
            self._given.setdefault(value, (exchange, place))

    def written(self) -> str:
        """One line for each exchange."""
        return "[\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in self.exchanges) + "\n]\n"

    def _body(self, kind: str, body: bytes) -> dict[str, Any]:
        if not body:
            return {"content_type": kind} if kind else {}
        if kind.startswith("multipart/form-data"):
            return {"form": [self._part(part) for part in _parts(kind, body)]}
        return {"content_type": kind, "json": json.loads(self._plain(body.decode()))}

    def _part(self, part: Any) -> dict[str, Any]:
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if (file := part.get_filename()) is None:
            return {"name": name, "value": self._plain(content.decode())}
        return {"name": name, "file": file, "base64": base64.b64encode(content).decode()}

    def _plain(self, text: str) -> str:
        return _UUID.sub(lambda found: self._named(found[0]), text)

    def _named(self, uuid: str) -> str:
        if uuid in self._known:
            return self._known[uuid]
        if uuid in self._given:
            exchange, place = self._given[uuid]
            name = f"id {len(self._known)}"
            exchange.setdefault("gives", {})[name] = place
            self._known[uuid] = f"{{{name}}}"
            return self._known[uuid]
        return self._own.setdefault(uuid, f"00000000-0000-4000-8000-{len(self._own):012d}")


def _parts(kind: str, body: bytes) -> Any:
    return message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body).get_payload()


def settled(answered: Any, place: str, wanted: Sequence[str]) -> bool:
    """Whether there are values at the place, and all of them are among the wanted ones, or exist at all."""
    values = [answered]
    for name in place.split("."):
        values = [
            found
            for value in values
            for found in (value if name == "*" and isinstance(value, list) else [(value or {}).get(name)])
        ]
    return bool(values) and all(value in wanted if wanted else value is not None for value in values)


def fields(answered: Any) -> list[str]:
    """The names of the fields in the answer: in its `data`, or in the first element of its list."""
    shown = answered.get("data", answered) if isinstance(answered, dict) else answered
    if isinstance(shown, list):
        shown = shown[0] if shown else None
    return sorted(shown) if isinstance(shown, dict) else []


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Each text in a JSON value, with its position, as `data.0.id`."""
    if isinstance(value, dict):
        for name, held in value.items():
            yield from _leaves(held, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        for index, held in enumerate(value):
            yield from _leaves(held, f"{place}.{index}" if place else str(index))
    elif isinstance(value, str):
        yield place, value
