"""Workflows, their released versions, and the apps that run them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class AccessType(StrEnum):
    PRIVATE = "private"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A flow and its canvas, each the JSON text that a client sent, byte for byte."""

    flow: str
    flow_ui: str | None


@dataclass(frozen=True, slots=True)
class Workflow:
    """`drawing` is None in lists: a page of flows may be very large."""

    id: UUID
    project_id: UUID
    name: str
    description: str | None
    drawing: Drawing | None
    versions: int
    """How many were released."""
    created_by: UUID | None
    created_at: datetime
    updated_by: UUID | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Version:
    """A released version, which never changes. `drawing` is None in lists; `agent` is the shorthand, checked."""

    id: UUID
    project_id: UUID
    workflow_id: UUID
    version: int
    name: str
    drawing: Drawing | None
    agent: Mapping[str, Any] | None
    created_by: UUID | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Deployed:
    """What an app runs: the workflow and version of its latest deployment."""

    workflow_id: UUID
    workflow_name: str
    version_id: UUID
    version: int
    version_name: str


@dataclass(frozen=True, slots=True)
class App:
    id: UUID
    org_id: UUID
    project_id: UUID
    name: str
    description: str | None
    access_type: AccessType
    deployment_config: Mapping[str, Any]
    runtime_id: str | None
    latest_deployment_id: UUID
    deployed: Deployed
    created_by: UUID | None
    created_at: datetime
    updated_by: UUID | None
    updated_at: datetime
    archived_by: UUID | None
    archived_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewApp:
    name: str
    project_id: UUID | None
    workflow_id: UUID
    workflow_version_id: UUID | None
    description: str | None = None
    access_type: AccessType = AccessType.PRIVATE
    deployment_config: Mapping[str, Any] | None = None
    runtime_id: str | None = None


@dataclass(frozen=True, slots=True)
class AppChanges:
    """Only the named fields change."""

    fields: frozenset[str]
    name: str | None = None
    description: str | None = None
    access_type: AccessType | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment of an app. It never changes: a rollback is a new one of an older version."""

    id: UUID
    app_id: UUID
    deployed: Deployed
    created_by: UUID | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Rollback:
    """The present and the restored version, and their differences. `problem`: why it cannot be deployed any more."""

    now: Deployment
    then: Deployment
    changes: Sequence["Change"]
    problem: str | None = None
    deployment_id: UUID | None = None
    """The id of the new deployment; None for a dry run."""


@dataclass(frozen=True, slots=True)
class Change:
    """`path` is `agent.instructions`, or a node by its id; `now` or `then` is None if the part does not exist."""

    path: str
    now: Any
    then: Any


@dataclass(frozen=True, slots=True)
class AppFilter:
    project_id: UUID
    workflow_id: UUID | None = None
    archived: bool = False
    include_archived: bool = False


@dataclass(frozen=True, slots=True)
class Models:
    """The models that a deployment names: of the shorthand's agent, or of each node of a graph by the node's id."""

    agent: UUID | None
    nodes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NodeKind:
    """A supported node type: `type` is the value of a node's `type`, `schema` describes its other fields."""

    type: str
    group: str
    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NodeNeeds:
    """What a node of a graph uses. `key` names it: its id, or `map/*` within a Map. `models`: slugs, of which the first
    available one is used; empty for the default model; None if it has no model."""

    key: str
    title: str
    models: Sequence[str] | None
    tools: Sequence[str]
    bases: Sequence[UUID]
    references: Sequence[tuple[str, UUID]] = ()
    """(kind, id) of memories, memory stores and skills."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A parsed graph. `warnings` are sentences about probable mistakes, by node."""

    nodes: Sequence[NodeNeeds]
    warnings: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a flow would run. `problems` map a field's path to the reason."""

    problems: Mapping[str, str]
    warnings: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Runnable:
    """A flow that is not released, ready to run: its checked agent with its model, or the models of its nodes."""

    project_id: UUID
    flow: Mapping[str, Any]
    agent: Mapping[str, Any] | None
    models: Models
