"""Access keys with limits, and the bill of what they used."""

from typing import Any

import httpx

from tests.support.running import NO_AUTHORITIES, Running


async def key_of(server: Running, **limits: Any) -> tuple[str, httpx.AsyncClient]:
    made = (await server.call("POST", "/v1/access-keys", 201, json={"name": "limited", **limits}))["data"]
    return made["id"], httpx.AsyncClient(
        verify=NO_AUTHORITIES, base_url=server.url, headers={"Authorization": f"Bearer {made['key']}"}, timeout=30
    )


async def usage(server: Running, query: str = "") -> list[dict[str, Any]]:
    return list((await server.call("GET", f"/v1/usage?{query}"))["data"])
