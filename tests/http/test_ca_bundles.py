"""Certificate authorities of a company, given for one endpoint: every kind of outbound call trusts them there, and
nowhere else."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from dulwich import porcelain

from stoa.outbound import Outbound
from stoa.outbound.certificates import checked_bundle
from stoa.sources.registry import PROVIDERS, NodeResources
from stoa.sources.types import Provider, SourceError
from tests.conftest import Running, serving
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel
from tests.support.mcp_servers import Diary, build, over_http
from tests.support.origins import Answer, Memory, listing, repositories, session, site
from tests.support.scripted_model import ScriptedServer
from tests.support.services import Service
from tests.support.tls import Authority


@pytest.fixture(scope="module")
def authority(room: Path) -> Authority:
    folder = room / f"authority-{uuid4().hex[:8]}"
    folder.mkdir()
    return Authority(folder)


@pytest.fixture(scope="module")
async def server(cluster: Databases, room: Path) -> AsyncIterator[Running]:
    name = f"ca_bundles_{uuid4().hex}"
    async with serving(await cluster.copy(name), room / name, ScriptedModel(), allow_private_addresses=True) as made:
        yield made


def unique(prefix: str) -> str:
    return f"{prefix}{uuid4().hex[:8]}"


async def test_a_connection_trusts_its_own_authorities(server: Running, authority: Authority) -> None:
    async with ScriptedServer() as model, authority.before(model.url) as url:
        body: dict[str, Any] = {"name": unique("c"), "type": "vllm", "config": {"base_url": url}}
        refused = await server.call("POST", "/v1/connections", 400, json=body)
        assert "certificate" in refused["error"]["message"]
        body["config"]["ca_bundle"] = authority.bundle
        made = (await server.call("POST", "/v1/connections", 201, json=body))["data"]
        assert made["ca_bundle"] == authority.bundle
        models = (await server.call("GET", "/v1/router/models"))["data"]
        model_id = next(one["id"] for one in models if one["provider"] == body["name"])
        conversation = await server.conversation(model_id=model_id)
        assert (await server.ask(conversation))["status"] == "completed"
        # What is taken away does not count any more, on connections that are kept open either.
        path = f"/v1/connections/{made['id']}"
        await server.call("PUT", path, 400, json={"config": {"base_url": url}})
        assert (await server.call("GET", path))["data"]["ca_bundle"] == authority.bundle
        other = {**body, "name": unique("c"), "config": {"base_url": url}}
        await server.call("POST", "/v1/connections", 400, json=other)


async def test_tools_trust_their_own_authorities(server: Running, authority: Authority) -> None:
    async with Service.running() as service, authority.before(service.url) as url:
        body: dict[str, Any] = {"type": "http", "description": "x", "config": {"url": f"{url}/x"}}
        results = []
        for more in ({}, {"ca_bundle": authority.bundle}, {}):
            made = await server.call(
                "POST", "/v1/tools", 201, json={**body, "name": unique("t"), "config": {**body["config"], **more}}
            )
            results.append((await server.call("POST", f"/v1/tools/{made['data']['id']}/test", json={}))["data"])
        assert [one.get("error", {}).get("code") for one in results] == [
            "tool_unreachable",
            None,
            "tool_unreachable",
        ]
        assert "certificate" in results[0]["error"]["message"]


async def test_an_imported_document_and_its_tools_trust_them(server: Running, authority: Authority) -> None:
    async with Service.running() as service, authority.before(service.url) as url:
        service.documents["/openapi.json"] = (
            b'{"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "servers": [{"url": "%b"}],'
            b' "paths": {"/a": {"get": {"operationId": "a", "responses": {}}}}}' % url.encode()
        )
        body = {"url": f"{url}/openapi.json", "prefix": f"{unique('p')}_"}
        refused = await server.call("POST", "/v1/tools/import", 400, json=body)
        assert "certificate" in refused["error"]["message"]
        made = await server.call("POST", "/v1/tools/import", 201, json={**body, "ca_bundle": authority.bundle})
        [tool] = made["data"]["tools"]
        assert tool["config"]["ca_bundle"] == authority.bundle
        tried = (await server.call("POST", f"/v1/tools/{tool['id']}/test", json={}))["data"]
        assert tried["result"]


async def test_mcp_servers_are_trusted_by_them(server: Running, authority: Authority, tmp_path: Path) -> None:
    app = build(Diary(tmp_path / "diary")).streamable_http_app()
    async with over_http(app) as web, authority.before(f"{web.url}/mcp") as url:
        config = {"url": url}
        body = {"name": unique("m"), "type": "mcp", "description": "x", "config": config}
        made = (await server.call("POST", "/v1/tools", 201, json=body))["data"]
        assert made.get("offers") is None
        assert "certificate" in made["problem"]
        body |= {"name": unique("m"), "config": {**config, "ca_bundle": authority.bundle}}
        made = (await server.call("POST", "/v1/tools", 201, json=body))["data"]
        assert "echo" in [offer["tool"] for offer in made["offers"]]


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[str]:
    repo = porcelain.init(tmp_path / "repo")
    (tmp_path / "repo" / "a.md").write_text("Hello.")
    porcelain.add(repo, [str(tmp_path / "repo" / "a.md")])
    porcelain.commit(repo, message=b"First", author=b"A <a@example.com>", committer=b"A <a@example.com>")
    with repositories({"/repo": repo}) as url:
        yield f"{url}/repo"
    repo.close()


@pytest.mark.parametrize("provider", [Provider.WEBSITE, Provider.S3, Provider.GIT])
async def test_sources_trust_their_own_authorities(
    provider: Provider, authority: Authority, repository: str, tmp_path: Path
) -> None:
    async with site() as pages, session() as http, authority.before(pages.url) as url:
        pages.page("/", text="Hello.")
        listed = "/docs/?list-type=2&max-keys=1000"
        pages.answers[listed], pages.answers["/docs/a.md"] = Answer(listing(("a.md", 6))), Answer(b"Hello.")
        async with authority.before(repository) as git_url:
            config: dict[str, Any] = {
                Provider.WEBSITE: {"url": url, "delay_seconds": 0, "sitemap": False},
                Provider.S3: {"bucket": "docs", "endpoint": url},
                Provider.GIT: {"url": git_url},
            }[provider]
            means = NodeResources(Outbound(allow_private=True), lambda: http, [], tmp_path / "home")
            async with PROVIDERS[provider].open(config, {}, means) as origin:
                with pytest.raises(SourceError):
                    walk = await Memory().walk(origin)
                    raise SourceError("incomplete", str(walk.incomplete)) if walk.incomplete else AssertionError(walk)
            async with PROVIDERS[provider].open({**config, "ca_bundle": authority.bundle}, {}, means) as origin:
                walk = await Memory().walk(origin)
            assert next(iter(walk.contents.values())).count(b"Hello.") == 1


@pytest.mark.parametrize(
    ("bundle", "said"),
    [
        ("x", "holds no certificate in PEM form"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
        ("-----BEGIN CERTIFICATE-----\n" + "A" * 70_000, "at most"),
    ],
)
async def test_what_is_no_bundle_is_refused(shared_server: Running, bundle: str, said: str) -> None:
    bodies = {
        "/v1/connections": {"name": "c", "type": "openai", "config": {"ca_bundle": bundle}},
        "/v1/tools": {
            "name": "t",
            "type": "http",
            "description": "x",
            "config": {"url": "https://a", "ca_bundle": bundle},
        },
        "/v1/tools/import": {"url": "https://a", "ca_bundle": bundle},
    }
    for path, body in bodies.items():
        refused = await shared_server.call("POST", path, 400, json=body)
        [(field, message)] = refused["error"]["details"].items()
        assert field.endswith("ca_bundle")
        assert said in message


def test_a_private_key_is_refused(authority: Authority) -> None:
    assert checked_bundle(authority.bundle) == authority.bundle
    with pytest.raises(ValueError, match="private key"):
        checked_bundle(authority.bundle + authority.private_key)


async def test_a_ca_bundle_is_added_to_the_systems_authorities(authority: Authority) -> None:
    """What others trust is not touched, and the same bundle is read once."""
    outbound = Outbound(allow_private=True)
    assert await outbound.trusting(None) is outbound
    one, other = await outbound.trusting(authority.bundle), await outbound.trusting(authority.bundle)
    assert one.tls() is other.tls()
    assert one.tls() is not outbound.tls()
    assert one.tls().cert_store_stats()["x509"] == outbound.tls().cert_store_stats()["x509"] + 1
