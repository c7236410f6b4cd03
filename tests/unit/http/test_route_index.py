"""A router with an index answers every request as the framework's own loop does."""

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from stoa.http import errors, route_index
from stoa.http.routing import Routes

PATHS = {
    "GET": ["/", "/things", "/things/{id}", "/things/{id}/parts", "/things/special", "/a/{rest:path}/end", "/a/x/y"],
    "POST": ["/things", "/things/{id}/parts", "/a/{rest:path}", "/{any}/parts", "/dots/{name}.json", "/slash/"],
    "DELETE": ["/things/{id}"],
}
"""`/things/special` comes behind a pattern that takes it, `/a/x/y` behind one that does not."""
ASKED = [
    *("/", "", "/things", "/things/", "/things/1", "/things/1/", "/things//", "/things/special", "/things/1/parts"),
    *("/things/1/parts/2", "/a", "/a/", "/a/x", "/a/x/y", "/a/x/y/end", "/a/end", "/a//end", "/other/parts", "//parts"),
    *("/dots/x.json", "/dots/x.y.json", "/dots/.json", "/dots/x", "/slash", "/slash/", "/mounted", "/mounted/x"),
    *(
        "/mounted/things",
        "/things/%2F",
        "/things/a%2Fparts",
        "/things/%0A",
        "/things%0A",
        "/nowhere",
        "/nowhere/at/all",
    ),
    *("/both/1", "/both/get", "/THINGS"),
]
METHODS = ("GET", "HEAD", "POST", "DELETE", "PUT", "OPTIONS", "BREW")


def application(*, indexed: bool) -> FastAPI:
    router = Routes()
    for method, paths in PATHS.items():
        for path in paths:
            router.add_api_route(path, _saying(f"{method} {path}"), methods=[method], response_class=Response)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    errors.install(app)
    app.router.routes.extend(router.routes)
    app.router.routes += [
        Mount("/mounted", routes=[Route("/things", _saying("mounted"))]),
        Route("/both/{one}", _saying("both"), methods=["GET", "POST"]),
        Route("/both/get", _saying("later")),
    ]
    if indexed:
        route_index.install(app.router)
    return app


def _saying(words: str):
    async def say(request: Request) -> Response:
        return PlainTextResponse(f"{words} {request.path_params} {getattr(request.scope.get('route'), 'path', None)}")

    return say


@pytest.mark.parametrize("root", ["", "/below"])
async def test_the_index_answers_as_the_plain_router_does(root: str) -> None:
    async with (
        httpx.AsyncClient(
            transport=httpx.ASGITransport(application(indexed=False), root_path=root), base_url="http://test"
        ) as plain,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(application(indexed=True), root_path=root), base_url="http://test"
        ) as fast,
    ):
        seen = set[int]()
        for path in ASKED:
            for method in METHODS:
                wanted, got = [await one.request(method, f"http://test{root}{path}") for one in (plain, fast)]
                allowed = [set(one.headers.pop("allow", "").split(", ")) for one in (wanted, got)]
                assert allowed[0] <= allowed[1], (method, path, "the framework names the methods of one route")
                assert (wanted.status_code, wanted.text, wanted.headers) == (got.status_code, got.text, got.headers)
                seen.add(wanted.status_code)
        refused = await fast.put(f"http://test{root}/things")
    assert seen == {200, 307, 404, 405}, "every kind of outcome was compared"
    assert refused.headers["allow"] == "GET, POST"


def test_a_path_has_one_candidate_not_hundreds() -> None:
    routes = application(indexed=False).router.routes
    index = route_index.RouteIndex(routes)
    mounts = [route for route in routes if isinstance(route, Mount)]
    found = [one for one in index.candidates("GET", "/things/1/parts") if one not in mounts]
    assert [one.path for one in found if isinstance(one, Route)] == ["/things/{id}/parts"]
    assert list(index.candidates("BREW", "/things")) == mounts
