"""Wherever a model is named, its id and its slug mean the same."""

import pytest

from tests.conftest import Running
from tests.support.apps import deployed


@pytest.fixture
async def names(shared_server: Running) -> tuple[str, str]:
    model = (await shared_server.call("GET", "/v1/router/models"))["data"][0]
    return str(model["id"]), str(model["slug"])


async def test_conversations_and_messages(shared_server: Running, names: tuple[str, str]) -> None:
    server = shared_server
    for name in (*names, names[0].upper()):
        made = (await server.call("POST", "/v1/conversations", 201, json={"model_id": name}))["data"]
        assert (made["model_id"], made["model"]["slug"]) == names
        path = f"/v1/conversations/{made['id']}"
        assert (await server.call("PATCH", path, json={"model_id": name}))["data"]["model_id"] == names[0]
        assert (await server.ask(made["id"], model_id=name))["model_id"] == names[0]
        again = {"model_id": name, "stream": False}
        assert (await server.call("POST", f"{path}/regenerate", json=again))["data"]["model_id"] == names[0]
    counted = [
        (await server.call("GET", "/v1/conversations", params={"model_id": name}))["pagination"]["total_count"]
        for name in names
    ]
    assert counted[0] == counted[1] >= 3


async def test_the_catalogue_the_router_and_apps(shared_server: Running, names: tuple[str, str]) -> None:
    server = shared_server
    for name in names:
        providers = await server.call("GET", f"/v1/router/models/{name}/providers")
        assert providers["data"][0]["model"] == names[1]
        assert (await server.call("GET", f"/router/v1/models/{name}"))["id"] == names[1]
        body = {"model": name, "messages": [{"role": "user", "content": "Hi"}]}
        assert (await server.call("POST", "/router/v1/chat/completions", json=body))["object"] == "chat.completion"
        await deployed(server, name=f"by {name}", flow={"agent": {"model": name}})


@pytest.mark.parametrize("name", ["stoa-extractve", "no/such", "x" * 300, "a b"])
async def test_a_slug_of_none_is_refused_by_its_field(shared_server: Running, name: str) -> None:
    server = shared_server
    refused = await server.call("POST", "/v1/conversations", 400, json={"model_id": name})
    assert list(refused["error"]["details"]) == ["model_id"]
    if name == "stoa-extractve":
        assert "did you mean stoa-extractive?" in refused["error"]["message"]
    conversation = await server.conversation()
    path = f"/v3/conversations/{conversation}/messages"
    await server.call("POST", path, 400, json={"content": "Hi", "model_id": name})
    await server.call("GET", "/v1/conversations", 400, params={"model_id": name})
    await server.call("GET", f"/v1/router/models/{name}/providers", 404)


async def test_what_is_no_text_at_all(shared_server: Running) -> None:
    assert (
        "model_id"
        in (await shared_server.call("POST", "/v1/conversations", 400, json={"model_id": 7}))["error"]["details"]
    )
    await shared_server.call("GET", "/v1/router/models/%00/providers", 404)
    await shared_server.call("GET", "/v1/conversations?model_id=%00", 400)
