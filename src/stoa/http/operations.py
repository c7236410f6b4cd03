"""`GET /health`: this process is alive. `GET /ready`: it accepts work (contract section 10)."""

from collections.abc import Awaitable, Callable
from typing import Literal

from stoa.http.routing import Routes
from stoa.http.wire import RefusalBody, Wire
from stoa.kernel.errors import Unavailable


class HealthWire(Wire):
    status: Literal["ok"]
    version: str


def routes(version: str, draining: Callable[[], bool], check_ready: Callable[[], Awaitable[None]]) -> Routes:
    router = Routes(tags=["operations"])

    @router.head("/health", include_in_schema=False)  # Many health checks send HEAD.
    @router.get("/health")
    async def health() -> HealthWire:
        """This process is alive. No credential needed."""
        return HealthWire(status="ok", version=version)

    @router.head("/ready", include_in_schema=False)
    @router.get(
        "/ready",
        responses={
            503: {
                "model": RefusalBody,
                "description": "Draining, the database is away or full, or background work is stuck.",
            }
        },
    )
    async def ready() -> HealthWire:
        """This server accepts work: the database answers and can store, no background loop is stuck, and the server is
        not about to stop. No credential needed."""
        if draining():
            raise Unavailable("This server is restarting.", retry_after_seconds=2)
        await check_ready()
        return HealthWire(status="ok", version=version)

    return router
