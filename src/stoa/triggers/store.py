"""Triggers and their events, between rows and values. Every function takes its transaction as an argument."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from stoa.db import Row, Tx, load
from stoa.db.leases import claiming
from stoa.kernel.errors import NotFound
from stoa.kernel.pages import PageRequest
from stoa.triggers import rules
from stoa.triggers.types import Actor, Event, EventStatus, Firing, Provider, Source, Trigger, TriggerStatus

SQL: Final = load("stoa.triggers")
CLAIM: Final = claiming(SQL.claim, "trigger_events", "starting")


async def trigger(tx: Tx, org_id: UUID, app_id: UUID, trigger_id: UUID) -> Trigger:
    """Raises NotFound."""
    return _found(await tx.fetchrow(SQL.trigger, org_id, app_id, trigger_id), app_id, trigger_id)


async def lock_trigger(tx: Tx, org_id: UUID, app_id: UUID, trigger_id: UUID) -> Trigger:
    """Raises NotFound."""
    return _found(await tx.fetchrow(SQL.lock_trigger, org_id, app_id, trigger_id), app_id, trigger_id)


def _found(row: Row | None, app_id: UUID, trigger_id: UUID) -> Trigger:
    if row is None:
        raise no_trigger(app_id, trigger_id)
    return trigger_of(row)


def no_trigger(app_id: UUID, trigger_id: UUID) -> NotFound:
    return NotFound(f"There is no trigger {trigger_id} of the app {app_id}.")


async def list_triggers(tx: Tx, org_id: UUID, app_id: UUID, page: PageRequest) -> tuple[Sequence[Trigger], int]:
    query = SQL.list_triggers.format(order=page.order_by("created_at DESC"))
    rows = await tx.fetch(query, org_id, app_id, page.page_size, page.offset)
    return [trigger_of(row) for row in rows], await tx.fetchval(SQL.count_triggers, org_id, app_id)


def trigger_of(row: Row) -> Trigger:
    return Trigger(
        row["id"],
        row["org_id"],
        row["project_id"],
        row["app_id"],
        row["name"],
        Provider(row["provider"]),
        rules.from_json(row["config"]),
        row["input_transformer"],
        TriggerStatus(row["status"]),
        row["next_at"],
        row["problem"],
        Actor(row["actor_id"], row["actor_is_user"]),
        row["created_by"],
        row["created_at"],
        row["updated_by"],
        row["updated_at"],
    )


async def of_keys(tx: Tx, org_id: UUID, key_ids: Sequence[UUID]) -> Sequence[Trigger]:
    """The active triggers that start runs in the names of these keys."""
    return [trigger_of(row) for row in await tx.fetch(SQL.of_keys, org_id, list(key_ids))]


async def hand_over(tx: Tx, org_id: UUID, key_id: UUID, successor_id: UUID) -> None:
    """From now on they start runs in the name of the successor key."""
    await tx.execute(SQL.hand_over, org_id, key_id, successor_id)


# --- events ---------------------------------------------------------------------------------------------------------
async def insert_event(
    tx: Tx,
    trigger: Trigger,
    event_id: UUID,
    source: Source,
    payload: Mapping[str, Any],
    received_at: datetime,
    *,
    due_at: datetime | None = None,
    delivery_id: str | None = None,
    status: EventStatus = EventStatus.PENDING,
) -> Event | None:
    """None where there is one of this due instant, or of this delivery."""
    row = await tx.fetchrow(
        SQL.insert_event,
        trigger.org_id,
        trigger.project_id,
        event_id,
        trigger.id,
        source.value,
        due_at,
        delivery_id,
        dict(payload),
        status.value,
        received_at,
    )
    return event_of(row) if row is not None else None


async def list_events(tx: Tx, org_id: UUID, trigger_id: UUID, page: PageRequest) -> tuple[Sequence[Event], int]:
    query = SQL.list_events.format(events_order=page.order_by("received_at DESC"))
    rows = await tx.fetch(query, org_id, trigger_id, page.page_size, page.offset)
    return [event_of(row) for row in rows], await tx.fetchval(SQL.count_events, org_id, trigger_id)


def event_of(row: Row) -> Event:
    return Event(
        row["id"],
        row["trigger_id"],
        Source(row["source"]),
        row["due_at"],
        row["delivery_id"],
        row["payload"],
        EventStatus(row["status"]),
        row["run_id"],
        row["error"],
        row["received_at"],
    )


def firing_of(row: Row) -> Firing:
    return Firing(
        row["id"],
        row["org_id"],
        row["project_id"],
        row["trigger_id"],
        row["app_id"],
        row["payload"],
        row["input_transformer"],
        Actor(row["actor_id"], row["actor_is_user"]),
        row["archived"],
        row["attempt"],
        row["node_id"],
    )


def fence(firing: Firing) -> tuple[object, ...]:
    """The arguments of the fence: the statement writes only if the event belongs to this node, in this attempt."""
    return (firing.org_id, firing.id, firing.attempt, firing.node_id)
