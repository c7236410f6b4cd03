"""The groups of the platform's API that are not here: data, and a 501 for each path and for all below it."""

import httpx
import pytest
from fastapi import FastAPI

from stoa.http import errors, unsupported
from stoa.kernel.errors import NotSupported

PATHS = [(group, path.replace("{app_id}", "1")) for group in unsupported.UNSUPPORTED for path in group.paths]


def test_each_sentence_names_the_group_and_an_alternative() -> None:
    for group in unsupported.UNSUPPORTED:
        assert group.sentence.startswith(f"This server has no {group.name}: ")
        assert group.sentence.endswith(".")
        assert len(group.instead) > 40


def test_no_path_is_named_twice_or_lies_below_another() -> None:
    paths = sorted(path for _, path in PATHS)
    assert len(set(paths)) == len(paths)
    assert not [(one, other) for one in paths for other in paths if other.startswith(f"{one}/")]


@pytest.mark.parametrize(("group", "path"), PATHS, ids=[path for _, path in PATHS])
async def test_any_method_at_any_depth_is_501_with_the_sentence(group: unsupported.UnsupportedGroup, path: str) -> None:
    app = FastAPI()
    errors.install(app)
    app.router.routes.extend(unsupported.routes().routes)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            for below in ("", "/", "/1/pods/x/logs?page=2&purpose=y"):
                answer = await client.request(method, path + below, json={"any": "body"})
                assert (answer.status_code, answer.json()["error"]) == (
                    NotSupported.status,
                    {"code": NotSupported.code, "message": group.sentence},
                )
        assert (await client.get(f"{path}x")).status_code == 404
