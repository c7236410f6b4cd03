"""The guide's configurations of reverse proxies, run by the proxies themselves: TLS, WebSockets, streams that are not
buffered, and whose word on the client's address and scheme counts."""

import asyncio
import os
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from websockets.asyncio.client import connect

from stoa.gateway import Finish, TextDelta, Usage
from tests.conftest import FIRST_KEY, Running, serving
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel
from tests.support.pages import ROOT, blocks
from tests.support.processes import free_port
from tests.support.tls import Authority

GUIDE = ROOT / "docs/guide/reverse-proxy.md"
KEY = {"Authorization": f"Bearer {FIRST_KEY}"}
NGINX = """\
daemon off;
pid {home}/nginx.pid;
error_log stderr warn;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
{server}
}}
"""


@pytest.fixture(scope="module")
def authority(room: Path) -> Authority:
    folder = room / f"proxy-{uuid4().hex[:8]}"
    folder.mkdir()
    return Authority(folder)


@pytest.fixture(scope="module")
async def server(cluster: Databases, room: Path) -> AsyncIterator[Running]:
    name = f"behind_proxies_{uuid4().hex}"
    settings = {"domain": "stoa.example.com"}
    async with serving(await cluster.copy(name), room / name, ScriptedModel(), **settings) as made:
        yield made


def nginx(server: Running, authority: Authority, port: int, home: Path) -> list[str]:
    [block] = blocks(GUIDE, "nginx")
    text = _filled(block, server, authority, ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"))
    (home / "nginx.conf").write_text(NGINX.format(home=home, server=text))
    return ["nginx", "-e", "stderr", "-p", str(home), "-c", str(home / "nginx.conf")]


def caddy(server: Running, authority: Authority, port: int, home: Path) -> list[str]:
    [block] = blocks(GUIDE, "caddyfile")
    sites, _, rest = block.partition(" {")
    named = ", ".join(f"https://{one.strip()}:{port}" for one in sites.split(","))
    text = _filled(f"{named} {{{rest}", server, authority)
    (home / "Caddyfile").write_text("{\n    admin off\n    auto_https disable_redirects\n}\n" + text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(home / "Caddyfile")]


def _filled(block: str, server: Running, authority: Authority, *more: tuple[str, str]) -> str:
    changes = (
        ("/etc/ssl/stoa/fullchain.pem", str(authority.chain_file)),
        ("/etc/ssl/stoa/privkey.pem", str(authority.key_file)),
        ("127.0.0.1:8080", server.url.removeprefix("http://")),
        *more,
    )
    for written, meant in changes:
        assert block.count(written) == 1, written
        block = block.replace(written, meant)
    return block


PROXIES = {"nginx": nginx, "caddy": caddy}


@asynccontextmanager
async def running(name: str, server: Running, authority: Authority, home: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The proxy, and a client that speaks to it as to stoa.example.com."""
    if shutil.which(name) is None:
        assert not (os.environ.get("CI") and name == "nginx"), "CI must have nginx"
        pytest.skip(f"{name} is not on this machine")
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_DATA_HOME": str(home)}
    with (home / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *PROXIES[name](server, authority, port, home), stdout=log, stderr=log, env=environment
        )
    try:
        tls = ssl.create_default_context(cadata=authority.bundle)
        async with (
            asyncio.timeout(20),
            httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=tls, headers=KEY, timeout=10) as client,
        ):
            while True:
                assert process.returncode is None, (home / "log").read_text()
                try:
                    await client.get("/health")
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.02)
            yield client
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.mark.parametrize("name", PROXIES)
async def test_the_guides_configuration(name: str, server: Running, authority: Authority, tmp_path: Path) -> None:
    gate = asyncio.Event()
    server.model.requests.clear()
    server.model.scripts = [[[TextDelta("One")], gate, [TextDelta(" two."), Usage(1, 1), Finish("stop")]]]
    conversation = await server.conversation()
    async with running(name, server, authority, tmp_path) as client:
        path = f"/v3/conversations/{conversation}/messages"
        host = f"stoa.example.com:{client.base_url.port}"
        headers = {"Host": host, "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "http"}  # A client's own word.
        extensions = {"sni_hostname": "localhost"}
        async with client.stream(
            "POST", path, json={"content": "Hi"}, headers={"Host": host}, extensions=extensions
        ) as reply:
            lines = reply.aiter_lines()
            while "One" not in await anext(lines):  # It arrives while the model is still speaking.
                pass
            gate.set()
            assert "run.completed" in "\n".join([line async for line in lines])
        run = reply.headers["stoa-run-id"]
        made = await client.post(f"/v1/runs/{run}/stream-tickets", headers=headers, extensions=extensions)
        assert made.json()["data"]["url"].startswith(f"https://{host}/v1/runs/{run}/stream?ticket=")
        other = await client.get("/v1/nothing", headers={"Host": f"router.{host}"}, extensions=extensions)
        assert other.status_code == 404
        assert "error" in other.json()
        port = client.base_url.port
        async with connect(
            f"wss://stoa.example.com:{port}/openai/v1/responses",
            host="127.0.0.1",
            port=port,
            ssl=ssl.create_default_context(cadata=authority.bundle),
            server_hostname="localhost",
            additional_headers=KEY,
        ) as socket:
            await socket.send("no JSON")
            assert "error" in str(await socket.recv())


@pytest.mark.parametrize(
    ("trusted", "scheme"), [(None, "https"), ((), "http"), (("10.0.0.0/8",), "http"), (("127.0.0.0/8",), "https")]
)
async def test_only_a_trusted_proxy_is_believed(
    trusted: tuple[str, ...] | None, scheme: str, server: Running, tmp_path: Path
) -> None:
    """What a request says of itself counts only where it comes from a proxy that the operator trusts."""
    conversation = await server.conversation()
    run = (await server.ask(conversation))["id"]
    settings = {} if trusted is None else {"trusted_proxies": trusted}
    async with serving(server.dsn, tmp_path, ScriptedModel(), **settings) as node:
        ticket = await node.call(
            "POST", f"/v1/runs/{run}/stream-tickets", 201, headers={"X-Forwarded-Proto": "https", "Host": "a.example"}
        )
        assert ticket["data"]["url"].startswith(f"{scheme}://a.example/")
