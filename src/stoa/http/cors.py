"""Cross-origin requests. A request without an origin bypasses the CORS middleware."""

from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import Message, Receive, Scope, Send

_VARY: Final = b"vary"


class Cors(CORSMiddleware):
    """Calls Starlette's middleware only for requests with an origin. The responses are the same."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or any(name == b"origin" for name, _ in scope["headers"]):
            await super().__call__(scope, receive, send)
            return

        async def send_varying(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                varies = [value for name, value in headers if name.lower() == _VARY]
                kept = [header for header in headers if header[0].lower() != _VARY] if varies else headers
                message["headers"] = [*kept, (_VARY, b", ".join([*varies, b"Origin"]))]
            await send(message)

        await self.app(scope, receive, send_varying)
