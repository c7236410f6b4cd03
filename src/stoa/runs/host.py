"""The Runs API of an app on its own host (contract section 5)."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, BinaryIO, Final, Literal, Protocol
from uuid import UUID

from fastapi import Depends, Query, Request, UploadFile
from fastapi import File as FormFile
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from stoa.apps import AppCaller, AppGate, Entities
from stoa.callbacks import Callbacks, CallbackWire, NewCallback, callback, new_callbacks
from stoa.conversations import Session
from stoa.db.idempotency import IdempotencyKey
from stoa.http import (
    Acknowledgement,
    Data,
    DataList,
    IdempotencyKeyHeader,
    Paging,
    Routes,
    fingerprint,
    page_of,
    refusals,
)
from stoa.http.openapi import described, documents
from stoa.http.sse import STREAM_CONTENT, Frames
from stoa.kernel.errors import BadRequest, Forbidden, NotFound, Unavailable
from stoa.kernel.pages import PageRequest
from stoa.kernel.principal import Principal
from stoa.runs import app_wire, forms, wire
from stoa.runs.api import SORTABLE, OpenStream, statuses_of
from stoa.runs.ports import AppProjects, CheckRequirements, Uploads
from stoa.runs.rules import ACTIVE
from stoa.runs.service import Runs
from stoa.runs.types import AppStart, Run, RunFilter, RunStatus, SendMessage

SEQUENCE_MAX: Final = 2**31 - 1
_PIECE_BYTES: Final = 1024 * 1024
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Data[app_wire.AppRunWire],
        "description": "The run once it has ended, or waits for a person; with `stream`, Server-Sent Events.",
        "content": STREAM_CONTENT,
    },
    202: {"model": Data[app_wire.AppRunWire], "description": "With `background`: the run, which goes on by itself."},
    **refusals(409, 413, 415),
}


class StreamState(Protocol):
    @property
    def state(self) -> Literal["going", "ended", "revoked"]: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """The journals of runs, through the streams slice."""

    open_stream: OpenStream
    admit: Callable[[Principal], None]
    replay: Callable[[Principal, UUID, int | None, str | None], Awaitable[Response]]
    events_page: Callable[[Principal, UUID, PageRequest], Awaitable[Response]]
    event_list: Callable[[], type[BaseModel]]
    """The model of such a page, for the OpenAPI document."""
    open_chunks: Callable[[Principal, UUID, Entities], Response]
    """The stream in the platform's form."""
    lines: Callable[[Principal, UUID, Entities], tuple[StreamState, Frames]]
    """That form as one message per line, with the position."""


class AppRuns:
    """The runs of one app, for callers on its host."""

    def __init__(
        self,
        runs: Runs,
        uploads: Uploads,
        reading: Reading,
        apps: AppProjects,
        callbacks: Callbacks,
        check_requirements: CheckRequirements,
        draining: Callable[[], bool],
    ) -> None:
        self.runs = runs
        self.reading = reading
        self.callbacks = callbacks
        self._uploads = uploads
        self._apps = apps
        self._check_requirements = check_requirements
        self._draining = draining

    def admit_start(self) -> None:
        """Raises Unavailable while this server shuts down."""
        if self._draining():
            raise Unavailable("This server is restarting; send it again in a moment.", retry_after_seconds=2)

    async def one(self, caller: AppCaller, run_id: UUID) -> Run:
        """Raises NotFound for a run of another app too."""
        run = await self.runs.get(caller.principal, run_id)
        if run.app_id != caller.app_id:
            raise NotFound(f"There is no run {run_id}.")
        return run

    async def entities(self, caller: AppCaller) -> Entities:
        return await self._apps.entities(caller.principal, caller.app_id)

    async def invoke(
        self, caller: AppCaller, body: app_wire.InvokeApp, files: Sequence[UploadFile], key: str | None
    ) -> Run:
        """Starts the run of `POST /`. Raises Forbidden for callbacks without a key, so that a public app cannot be
        misused to send requests."""
        body.check()
        callbacks = new_callbacks(body.callbacks or ())
        if callbacks and caller.anonymous:
            raise Forbidden("Callbacks are for callers with an access key; read a run of a public app by its id.")
        self.callbacks.check(callbacks)
        return await self.start(caller, body.start(), files, key, callbacks)

    async def start(
        self,
        caller: AppCaller,
        body: app_wire.StartRun,
        files: Sequence[UploadFile],
        key: str | None,
        callbacks: Sequence[NewCallback] = (),
    ) -> Run:
        """Message, run and journal in one transaction. Runs of one session wait for one another."""
        self.admit_start()
        sent = {
            **body.model_dump(mode="json"),
            **({"callbacks": [asdict(one) for one in callbacks]} if callbacks else {}),
            **({"files": await _described(files)} if key and files else {}),
        }
        once = IdempotencyKey(key, f"app-runs/{caller.app_id}", fingerprint(sent)) if key else None
        if body.stream:
            self.reading.admit(caller.principal)
        # A caller of a public app without a key cannot act as an end user.
        await self._check_requirements(caller.principal, caller.app_id, None if caller.anonymous else body.user_id)
        names = [*(body.file_ids or ()), *[await self.upload(caller, file) for file in files]]
        session = Session(caller.app_id, caller.project_id, body.user_id, body.session_id)
        send = SendMessage(
            app_wire.content_of(body.input, names),
            None,
            subagents_enabled=True,
            metadata=None,
            on_busy="queue" if body.session_id else "reject",
            app=AppStart(session, body.input, callbacks),
        )
        try:
            return (await self.runs.start(caller.principal, None, send, once)).run
        except BadRequest as refusal:
            raise app_wire.in_file_ids(refusal) from refusal

    async def upload(self, caller: AppCaller, file: UploadFile) -> UUID:
        return (
            await self._uploads.add(caller.principal, caller.app_id, file.file, file.filename, file.content_type)
        ).id

    async def answered(self, caller: AppCaller, run: Run, status: int = 200) -> Response:
        return JSONResponse((await self.shown(caller, run)).model_dump(mode="json", exclude_none=True), status)

    async def shown(self, caller: AppCaller, run: Run) -> Data[app_wire.AppRunWire]:
        asked = await self.runs.requests(caller.principal, [run.id]) if run.status in ACTIVE else {}
        return Data(data=app_wire.app_run(run, asked.get(run.id, ())))


async def _described(files: Sequence[UploadFile]) -> Sequence[Sequence[str | None]]:
    """What an Idempotency-Key is bound to of each upload: its name and the hash of its content."""
    return [(one.filename, await asyncio.to_thread(_sha256, one.file)) for one in files]


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest()


def begun(run: Run) -> Run:
    """A run in the state that the request that started it left."""
    nothing: dict[str, Any] = dict.fromkeys(("output", "error", "usage", "ended_at", "result"))
    return replace(run, status=RunStatus.CREATED, **nothing)


def host_routes(app_runs: AppRuns, uploads: Uploads, gate: AppGate) -> Routes:
    router = Routes(tags=["app"])
    running = gate("apps:run")
    _reading(router, app_runs, gate)
    _callbacks(router, app_runs, gate)

    @router.post("/v1/files", status_code=201, responses=refusals(409, 413, 415))
    async def upload_app_file(
        caller: Annotated[AppCaller, running],
        file: Annotated[UploadFile, FormFile(description="At most 128 MiB.")],
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> Data[app_wire.AppFileWire]:
        """A file for runs of this app, to be named in `file_ids`."""
        sent = (file.file, file.filename, file.content_type)
        added = await uploads.add(caller.principal, caller.app_id, *sent, idempotency_key)
        return Data(data=app_wire.AppFileWire(id=added.id, name=added.name, size=added.size, mime_type=added.mime_type))

    @router.post(
        "/",
        response_model=None,
        responses={
            200: {
                "model": app_wire.InvokedWire,
                "description": "What the app answered; with `stream`, Server-Sent Events in the platform's form.",
            },
            202: {"model": app_wire.InvokedWire, "description": "With `execution_mode: async`."},
            **refusals(409, 413, 415),
        },
    )
    @forms.documented(app_wire.InvokeApp)
    async def invoke_app(
        request: Request, caller: Annotated[AppCaller, running], idempotency_key: IdempotencyKeyHeader = None
    ) -> Response:
        """Runs the app and waits for its answer, without an envelope; or streams it, or answers at once and calls
        back."""
        async with forms.read(request, app_wire.InvokeApp, ("input", "callbacks")) as (body, files):
            entities = await app_runs.entities(caller) if body.stream else None
            run = await app_runs.invoke(caller, body, files, idempotency_key)
        if entities is not None:
            return app_runs.reading.open_chunks(caller.principal, run.id, entities)
        if body.execution_mode == "async":
            return JSONResponse(app_wire.accepted(run).model_dump(mode="json", exclude_none=True), 202)
        ended = await app_runs.runs.ended(caller.principal, run.id)
        return JSONResponse(app_wire.invoked(ended).model_dump(mode="json", exclude_none=True))

    @router.post("/v1/runs", response_model=None, responses=_ANSWERS)
    @forms.documented(app_wire.StartRun)
    async def start_run(
        request: Request, caller: Annotated[AppCaller, running], idempotency_key: IdempotencyKeyHeader = None
    ) -> Response:
        """Runs the app. Waits for the end, unless `stream` or `background` is set; the run outlives its caller."""
        async with forms.read(request, app_wire.StartRun, ("input",)) as (body, files):
            run = await app_runs.start(caller, body, files, idempotency_key)
        if body.background:
            return await app_runs.answered(caller, begun(await app_runs.runs.get(caller.principal, run.id)), 202)
        if body.stream:
            return app_runs.reading.open_stream(caller.principal, run.id)
        return await app_runs.answered(caller, await app_runs.runs.ended(caller.principal, run.id))

    @router.post("/v1/runs/{run_id}/cancel", responses=refusals(404))
    async def cancel_app_run(run_id: UUID, caller: Annotated[AppCaller, running]) -> Acknowledgement:
        """Ends the run; no effect on a finished one."""
        await app_runs.one(caller, run_id)
        await app_runs.runs.cancel(caller.principal, run_id)
        return Acknowledgement(message="canceled")

    @router.post("/v1/runs/{run_id}/input", responses=refusals(404))
    async def give_app_input(
        run_id: UUID, body: wire.InputBody, caller: Annotated[AppCaller, running]
    ) -> Acknowledgement:
        """Answers a question of the run, once. A paused run goes on."""
        await app_runs.one(caller, run_id)
        await app_runs.runs.answer(caller.principal, run_id, wire.given(body))
        return Acknowledgement(message="ok")

    return router


def _callbacks(router: Routes, app_runs: AppRuns, gate: AppGate) -> None:
    running = gate("apps:run")

    @router.get("/v1/runs/{run_id}/callbacks", responses=refusals(404))
    async def list_app_run_callbacks(run_id: UUID, caller: Annotated[AppCaller, running]) -> Data[list[CallbackWire]]:
        """The run's callbacks, each with its attempts."""
        _named(caller)
        found = await app_runs.callbacks.of_run(caller.principal, run_id, caller.app_id)
        return Data(data=[callback(one) for one in found])

    @router.post("/v1/runs/{run_id}/callbacks/{callback_id}/replay", responses=refusals(404, 409))
    async def replay_app_run_callback(
        run_id: UUID, callback_id: UUID, caller: Annotated[AppCaller, running]
    ) -> Acknowledgement:
        """Sends it once more, with the same `webhook-id`."""
        _named(caller)
        await app_runs.callbacks.replay(caller.principal, run_id, callback_id, caller.app_id)
        return Acknowledgement(message="ok")


def _named(caller: AppCaller) -> None:
    if caller.anonymous:
        raise Forbidden("Callbacks are for callers with an access key.")


def _reading(router: Routes, app_runs: AppRuns, gate: AppGate) -> None:
    running = gate("apps:run")

    @router.get("/v1/runs", responses=refusals())
    async def list_app_runs(
        caller: Annotated[AppCaller, running],
        page: Annotated[PageRequest, Depends(Paging(SORTABLE, cursors=True))],
        status: Annotated[
            list[str] | None, Query(max_length=10, description="Repeat it for several; awaiting_input is allowed.")
        ] = None,
        user_id: Annotated[str | None, Query(max_length=255)] = None,
        session_id: UUID | None = None,
    ) -> DataList[app_wire.AppRunWire]:
        """The app's runs, newest first. A public app lists them for its keys alone."""
        if caller.anonymous:
            raise Forbidden("The runs of a public app are listed for an access key only; a run is read by its id.")
        statuses, awaiting_input = statuses_of(status)
        wanted = RunFilter(statuses, awaiting_input, None, user_id, caller.app_id, session_id)
        found = await app_runs.runs.list(caller.principal, page, wanted)
        requests = await app_runs.runs.requests(caller.principal, [run.id for run in found.items])
        return page_of(found, lambda run: app_wire.app_run(run, requests.get(run.id, ())))

    @router.get("/v1/runs/{run_id}", responses=refusals(404))
    async def get_app_run(run_id: UUID, caller: Annotated[AppCaller, running]) -> Data[app_wire.AppRunWire]:
        return await app_runs.shown(caller, await app_runs.one(caller, run_id))

    @router.get(
        "/v1/runs/{run_id}/events",
        response_class=JSONResponse,
        responses={200: described("EventListWire"), **refusals(404)},
    )
    @documents(app_runs.reading.event_list)
    async def list_app_run_events(
        run_id: UUID,
        caller: Annotated[AppCaller, running],
        page: Annotated[PageRequest, Depends(Paging())],
    ) -> Response:
        """A run's events, in sequence order."""
        await app_runs.one(caller, run_id)
        return await app_runs.reading.events_page(caller.principal, run_id, page)

    @router.get(
        "/v1/runs/{run_id}/stream",
        response_class=Response,
        responses={200: {"description": "Server-Sent Events.", "content": STREAM_CONTENT}, **refusals(404)},
    )
    async def stream_app_run(
        request: Request,
        run_id: UUID,
        caller: Annotated[AppCaller, running],
        after_sequence: Annotated[int | None, Query(ge=1, le=SEQUENCE_MAX)] = None,
    ) -> Response:
        """A run's events from the start or after a cursor (`after_sequence`, Last-Event-ID); 204 if none is left."""
        await app_runs.one(caller, run_id)
        seen = request.headers.get("last-event-id")
        return await app_runs.reading.replay(caller.principal, run_id, after_sequence, seen)
