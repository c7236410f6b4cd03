"""What runs need of other slices, and what the services need of the worker."""

import asyncio
from typing import Any, BinaryIO, Protocol, TypeAlias
from uuid import UUID

from stoa.conversations import File
from stoa.db import Tx
from stoa.journal import RunWriter
from stoa.kernel.principal import Principal
from stoa.runs.types import Run


class Models(Protocol):
    """What runs ask of the gateway before they begin."""

    async def id_of(self, tx: Tx, name: str) -> UUID:
        """The id of a model that is named by its id or its slug. Raises BadRequest naming `model_id` for an unknown
        slug."""
        ...

    async def check(self, tx: Tx, model_id: UUID) -> None:
        """Raises BadRequest naming `model_id` when this tenant may not use it, or it cannot be used just now."""
        ...


class AppProjects(Protocol):
    """Where an app is."""

    async def project_of(self, principal: Principal, app_id: UUID) -> UUID:
        """Raises NotFound."""
        ...


class Uploads(Protocol):
    """Where an app keeps the files that its runs are given."""

    async def add(
        self, principal: Principal, app_id: UUID, source: BinaryIO, name: str | None, mime_type: str | None
    ) -> File: ...


Preparation: TypeAlias = asyncio.Task[Any]
"""What was begun for a run before its start is committed. It only reads, so a start that fails leaves nothing."""


class Owner(Protocol):
    """The worker of this node, as the services see it."""

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
        """Begins to collect what the run's model is to read, while the transaction that starts the run goes on."""
        ...

    def adopt(self, run: Run, writer: RunWriter, prepared: Preparation, /) -> None:
        """Begins to work on a run whose start was just committed."""
        ...

    async def cancel(self, run_id: UUID, reason: str) -> bool:
        """Ends a run that this node works on; true once its terminal event is committed."""
        ...
