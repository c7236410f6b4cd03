"""Connections: providers that list no models, and types as the platform's library names them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from stoa.gateway.registry import PLATFORM_NAMES, PROVIDERS, provider_of
from stoa.settings import Provider
from tests.conftest import Running, serving
from tests.support.databases import Databases
from tests.support.doubles import ScriptedModel
from tests.support.scripted_model import ScriptedServer
from tests.support.services import Service

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Service]:
    """Has no list of models: 404."""
    async with Service.running() as made:
        made.statuses["/none/models"] = [404] * 10
        yield made


@pytest.fixture(scope="module")
async def server(cluster: Databases, room: Path, service: Service) -> AsyncIterator[Running]:
    name = f"connections_{uuid4().hex}"
    unlisted = Provider(
        name="unlisted", type="openai", base_url=f"{service.url}/none", api_key=SecretStr("k"), models=("one", "two")
    )
    async with serving(
        await cluster.copy(name), room / name, ScriptedModel(), allow_private_addresses=True, providers=(unlisted,)
    ) as made:
        yield made


async def slugs(server: Running) -> list[str]:
    return [one["id"] for one in (await server.call("GET", "/router/v1/models"))["data"]]


async def test_an_operator_names_the_models_of_a_provider_without_a_list(server: Running) -> None:
    assert {"unlisted/one", "unlisted/two"} <= set(await slugs(server))


async def test_a_connection_names_its_models(server: Running) -> None:
    async with ScriptedServer() as provider:
        config = {"base_url": provider.url, "api_key": "k", "models": ["house-model", "house-model"]}
        body = {"name": "mine", "type": "dynamiq.connections.OpenAI", "config": config}
        made = (await server.call("POST", "/v1/connections", 201, json=body))["data"]
        assert made["type"] == "openai"
        assert provider.paths == []  # It was not asked.
        assert [one for one in await slugs(server) if one.startswith("mine/")] == ["mine/house-model"]
        chat = {"model": "mine/house-model", "messages": HELLO, "stream": True}
        assert (await server.client.post("/router/v1/chat/completions", json=chat)).status_code == 200
        assert provider.bodies[-1]["model"] == "house-model"
        await server.call(
            "PUT", f"/v1/connections/{made['id']}", json={"config": {**config, "models": ["house-model", "another"]}}
        )
        assert [one for one in await slugs(server) if one.startswith("mine/")] == ["mine/another", "mine/house-model"]


@pytest.mark.parametrize("models", [[], [""], ["a b"], ["x" * 201], "one", ["m"] * 101, ["\u00e4"]])
async def test_what_is_no_name_is_refused(server: Running, models: object) -> None:
    config = {"base_url": "https://models.example", "api_key": "k", "models": models}
    body = {"name": "bad", "type": "openai", "config": config}
    refused = await server.call("POST", "/v1/connections", 400, json=body)
    assert all(name.startswith("config.models") for name in refused["error"]["details"]), json.dumps(refused)


async def test_a_provider_that_lists_nothing_and_names_nothing_is_refused(server: Running, service: Service) -> None:
    config = {"base_url": f"{service.url}/none", "api_key": "k"}
    refused = await server.call("POST", "/v1/connections", 400, json={"name": "n", "type": "openai", "config": config})
    assert "name its models" in refused["error"]["details"]["config.base_url"]


def test_the_platform_s_names() -> None:
    assert {provider_of(f"dynamiq.connections.{name}") for name in PLATFORM_NAMES} <= set(PROVIDERS)
    assert (provider_of("openai"), provider_of("dynamiq.nodes.llms.Gemini")) == ("openai", "gemini")
    assert [provider_of(name) for name in ("", "OpenAI", "dynamiq.connections.Pinecone", "other.OpenAI")] == [None] * 4
    assert provider_of("dynamiq.connections.LlamaCpp") == "llamacpp"
