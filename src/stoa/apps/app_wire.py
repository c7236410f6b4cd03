"""The JSON shapes of going back to what an app ran before."""

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from stoa.apps.types import Rollback
from stoa.apps.wire import DeploymentWire, deployment
from stoa.http import Body, Wire


class RollbackApp(Body):
    """The deployment to restore, by default the newest one of another version. `dry_run` changes nothing."""

    example: ClassVar[Mapping[str, Any]] = {"dry_run": True}

    deployment_id: UUID | None = None
    dry_run: bool = False


class ChangeWire(Wire):
    """A differing part of the flow. `now` or `then` is left out if the part does not exist there."""

    path: str
    now: Any | None
    then: Any | None


class RollbackWire(Wire):
    """What the app runs now, what it would run, and the differences. `problem` is why that cannot be deployed any more;
    `deployment_id` is the new deployment."""

    now: DeploymentWire
    then: DeploymentWire
    changes: list[ChangeWire]
    problem: str | None
    deployment_id: UUID | None


def rollback(value: Rollback) -> RollbackWire:
    return RollbackWire(
        now=deployment(value.now),
        then=deployment(value.then),
        changes=[ChangeWire(path=one.path, now=one.now, then=one.then) for one in value.changes],
        problem=value.problem,
        deployment_id=value.deployment_id,
    )
