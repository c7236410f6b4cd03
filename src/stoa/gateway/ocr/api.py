"""`POST /v1/ocr/parse` and `/v1/ocr/extract` on the api host (contract section 8)."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

from fastapi import File as FormFile
from fastapi import Form, Request, UploadFile
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from stoa.gateway.ocr import wire
from stoa.gateway.ocr.service import Ocr, Plan, joined
from stoa.gateway.ocr.templates import FIELD
from stoa.gateway.ocr.types import Document
from stoa.http import Data, Gate, Routes, errors, refusals
from stoa.http.disconnects import while_connected
from stoa.http.sse import OTHER_STREAM_CONTENT, EventStream, Write
from stoa.kernel.errors import AppError
from stoa.kernel.principal import Principal

NAME_CHARACTERS_MAX: Final = 255
File = Annotated[
    UploadFile, FormFile(description="A PDF, a picture, or any other document that is read. At most 128 MiB.")
]


def ocr_routes(ocr: Ocr, gate: Gate) -> Routes:
    router = Routes(tags=["gateway"])
    calling = gate("router:call")

    @router.post("/v1/ocr/parse", response_model=None, responses=_answers(Data[wire.ParsedWire]))
    async def parse_document(
        request: Request,
        principal: Annotated[Principal, calling],
        file: File,
        options: Annotated[str, Form(description="JSON: `{llm, stream?}`.", max_length=300_000)],
    ) -> Response:
        """The text of a document as Markdown. Pages without text are read by `llm`, a model that sees. With `stream`,
        an event `page` for each page in order, then `result`."""
        chosen = wire.options_of(options, wire.ParseOptions)
        llm = wire.llm_of(chosen.llm, "options.llm")

        async def told(plan: Plan, on_page: Callable[[bytes], Awaitable[None]] | None) -> Any:
            return {"text": await _read(ocr, plan, on_page)}

        return await _answered(request, file, chosen.stream, lambda document: ocr.plan(principal, document, llm), told)

    @router.post("/v1/ocr/extract", response_model=None, responses=_answers(Data[wire.ExtractedWire]))
    async def extract_from_document(
        request: Request,
        principal: Annotated[Principal, calling],
        file: File,
        options: Annotated[
            str,
            Form(description="JSON: `{ocr_llm, structured_output_llm, template, stream?}`.", max_length=600_000),
        ],
    ) -> Response:
        """Fields of a document as JSON: `ocr_llm` reads it, `structured_output_llm` fills the template. With `stream`,
        an event `page` for each page in order, then `result`."""
        chosen = wire.options_of(options, wire.ExtractOptions)
        reader = wire.llm_of(chosen.ocr_llm, "options.ocr_llm")
        filler = wire.llm_of(chosen.structured_output_llm, "options.structured_output_llm")
        schema = wire.template_of(chosen.template)
        await ocr.check_template(schema, FIELD)
        await ocr.check_model(principal, filler)

        async def told(plan: Plan, on_page: Callable[[bytes], Awaitable[None]] | None) -> Any:
            return await ocr.extract(principal, filler, await _read(ocr, plan, on_page), schema)

        return await _answered(
            request, file, chosen.stream, lambda document: ocr.plan(principal, document, reader), told
        )

    return router


def _answers(model: Any) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"model": model, "description": "What was read; with `stream`, events.", "content": OTHER_STREAM_CONTENT},
        **refusals(413, 415, 429, 502, 504),
    }


async def _read(ocr: Ocr, plan: Plan, on_page: Callable[[bytes], Awaitable[None]] | None) -> str:
    async def seen() -> AsyncGenerator[Any]:
        async with aclosing(ocr.pages(plan)) as pages:
            async for page in pages:
                if on_page is not None:
                    await on_page(wire.page_event(page))
                yield page

    async with aclosing(seen()) as pages:
        return await joined(pages)


async def _answered(
    request: Request,
    file: UploadFile,
    streamed: bool,
    plan: Callable[[Document], Awaitable[Plan]],
    tell: Callable[[Plan, Callable[[bytes], Awaitable[None]] | None], Awaitable[Any]],
) -> Response:
    """Everything that can be refused is, before a stream begins."""
    async with AsyncExitStack() as stack:
        document = await stack.enter_async_context(_stored(file))
        planned = await while_connected(request.scope, request.receive, _awaited(plan(document)))
        if streamed:
            return OcrStream(OcrFrames(lambda on_page: tell(planned, on_page), request.scope), stack.pop_all())
        data = await while_connected(request.scope, request.receive, _awaited(tell(planned, None)))
        return JSONResponse({"data": data})


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


@asynccontextmanager
async def _stored(file: UploadFile) -> AsyncGenerator[Document]:
    """The upload as a file that a process of its own can open; gone at the end."""
    with TemporaryDirectory(prefix="stoa-ocr-") as directory:
        path = Path(directory) / "document"
        await asyncio.to_thread(_copy, file, path)
        name = (file.filename or "document").replace("\0", "")[-NAME_CHARACTERS_MAX:]
        yield Document(path, name, file.content_type)


def _copy(file: UploadFile, path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(file.file, target, 1024 * 1024)


class OcrFrames:
    """Pages as they are read, then the result or an error."""

    def __init__(self, tell: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[Any]], scope: Scope) -> None:
        self._tell = tell
        self._scope = scope
        self._work: asyncio.Task[None] | None = None
        self._closed = False

    async def deliver(self, write: Write) -> None:
        if self._closed:
            return
        self._work = asyncio.create_task(self._send(write), name="gateway.ocr")
        try:
            await asyncio.wait([self._work])
        finally:
            self._work.cancel()
        if not self._work.cancelled():
            self._work.result()

    def close(self) -> None:
        self._closed = True
        if self._work is not None:
            self._work.cancel()

    async def ended(self) -> None:
        """The calls that were under way are on the bill."""
        if self._work is not None:
            await asyncio.wait([self._work])

    async def _send(self, write: Write) -> None:
        async def written(data: bytes) -> None:
            if (waiting := write(data)) is not None:
                await waiting

        try:
            result = await self._tell(written)
        except AppError as error:
            await written(b"event: error\ndata: " + bytes(errors.rendered(self._scope, error).body) + b"\n\n")
            return
        await written(wire.result_event(result))


class OcrStream(EventStream):
    """An event stream whose document is removed whatever becomes of it."""

    def __init__(self, frames: OcrFrames, stack: AsyncExitStack) -> None:
        super().__init__(frames)
        self._work = frames
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack:
            try:
                await super().__call__(scope, receive, send)
            finally:
                self._work.close()
                await self._work.ended()
