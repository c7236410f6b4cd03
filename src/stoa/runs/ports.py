"""The ports of runs for other slices, and of the services for the worker."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, BinaryIO, Protocol, TypeAlias
from uuid import UUID

from stoa.apps import Entities
from stoa.callbacks import NewCallback
from stoa.conversations import File
from stoa.db import Tx
from stoa.db.idempotency import IdempotencyKey
from stoa.journal import RunWriter
from stoa.kernel.principal import Principal
from stoa.runs.agent.ports import Supply
from stoa.runs.types import Publication, Run, Trial
from stoa.runs.workflow.ports import NewDocument


class Models(Protocol):
    """The port for the gateway before a run starts."""

    async def id_of(self, tx: Tx, name: UUID | str) -> UUID:
        """The id of a model that is named by its id or its slug. Raises BadRequest naming `model_id` for an unknown
        slug."""
        ...

    async def check(self, tx: Tx, model_id: UUID) -> None:
        """Raises BadRequest naming `model_id` when this tenant may not use it, or it cannot be used just now."""
        ...


FindModel: TypeAlias = Callable[[Run, UUID | None], Awaitable[Supply]]
"""(run, model) → the model of a run, or of a node of its graph. Raises AppError if it is not available."""


class Flows(Protocol):
    """Released flows."""

    async def flow(self, org_id: UUID, version_id: UUID) -> str | None:
        """The text of a released version's flow."""
        ...


class Writing(Protocol):
    """Knowledge bases that a graph fills."""

    async def store(self, run: Run, base_id: UUID, documents: Sequence[NewDocument], path: str) -> Sequence[UUID]:
        """Stores the documents and returns the ids of their items, once for each `path` of a run. Raises AppError."""
        ...


class Trials(Protocol):
    """Test runs of flows before their release."""

    async def prepare(
        self,
        principal: Principal,
        project_id: UUID | None,
        flow: Mapping[str, Any],
        fields: Mapping[str, Any],
        once: IdempotencyKey | None,
    ) -> Trial:
        """Checks the flow, and opens a conversation for it. Raises BadRequest naming each bad node."""
        ...


class Published(Protocol):
    """What runs have published."""

    async def of_run(self, principal: Principal, run_id: UUID) -> Sequence[Publication]: ...


class AppProjects(Protocol):
    """The project of an app, and the names of its parts."""

    async def project_of(self, principal: Principal, app_id: UUID) -> UUID:
        """Raises NotFound."""
        ...

    async def entities(self, principal: Principal, app_id: UUID) -> Entities:
        """Raises NotFound."""
        ...


class CallbackEntries(Protocol):
    """The port for callbacks of runs."""

    async def enter(
        self, tx: Tx, org_id: UUID, project_id: UUID, app_id: UUID, run_id: UUID, callbacks: Sequence[NewCallback]
    ) -> None:
        """In the transaction that starts the run."""
        ...

    async def remove(self, tx: Tx, org_id: UUID, conversation_id: UUID) -> tuple[int, int]:
        """Removes the callbacks of a conversation's runs, which are deleted next. Returns rows and bytes."""
        ...


CheckRequirements: TypeAlias = Callable[[Principal, UUID, str | None], Awaitable[None]]
"""(principal, app, end user): raises an AppError if the user lacks a requirement of the app."""


class Uploads(Protocol):
    """The files of an app's runs."""

    async def file(self, principal: Principal, file_id: UUID) -> File:
        """Raises NotFound."""
        ...

    def link(self, principal: Principal, file_id: UUID) -> tuple[str, datetime]:
        """The ticket of a short-lived link to the file, and when it ends."""
        ...

    async def add(
        self, principal: Principal, app_id: UUID, source: BinaryIO, name: str | None, mime_type: str | None
    ) -> File: ...


Settle: TypeAlias = Callable[[Tx, UUID], Awaitable[None]]
"""Further writes in the transaction that starts a run, called with the run's id. An exception rolls everything back."""

Preparation: TypeAlias = asyncio.Task[Any]
"""The preparation of a run before its start is committed. It only reads, so a failed start leaves nothing."""


class Owner(Protocol):
    """The port for the worker of this node."""

    @property
    def node_id(self) -> UUID: ...

    def reserve(self, project_id: UUID | None) -> bool:
        """Reserves capacity for a run of this project that is about to begin; false when there is none. None: project
        not known yet."""
        ...

    def unreserve(self, project_id: UUID | None) -> None:
        """Releases the reservation: `adopt` has counted the run, or it did not begin."""
        ...

    def prepare(self, run: Run) -> Preparation:
        """Starts to read the run's context in parallel with the transaction that starts the run."""
        ...

    def adopt(self, run: Run, writer: RunWriter, prepared: Preparation, /) -> None:
        """Starts to execute a run whose start was just committed."""
        ...

    async def cancel(self, run_id: UUID, reason: str) -> bool:
        """Cancels a run that this node executes; true once its terminal event is committed."""
        ...
