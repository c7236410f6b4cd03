"""Triggers, and deliveries to webhooks. One transaction per method."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Final
from uuid import UUID

from stoa.db import Database, Tx, audit, idempotency
from stoa.db.idempotency import IdempotencyKey
from stoa.db.internal import internal_statement
from stoa.kernel.clock import Clock
from stoa.kernel.errors import BadRequest, Conflict, Forbidden, NotFound, RateLimited, Unauthorized
from stoa.kernel.ids import Ids
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.triggers import rules, schedules, signatures, store
from stoa.triggers.ports import Vault
from stoa.triggers.store import SQL
from stoa.triggers.types import (
    Actor,
    Changes,
    Delivery,
    Event,
    NewTrigger,
    Provider,
    Schedule,
    Source,
    Trigger,
    TriggerStatus,
    Webhook,
)

CHANNEL: Final = "stoa_triggers"
"""Wakes the workers of every node: an event waits."""
WAIT_SECONDS: Final = 5
RUNS: Final = "apps:run"
"""The permission that the actor of a trigger needs."""


class Triggers:
    def __init__(self, database: Database, vault: Vault, ids: Ids, clock: Clock) -> None:
        self._database = database
        self._vault = vault
        self._ids = ids
        self._clock = clock

    # --- triggers ---------------------------------------------------------------------------------------------------
    async def create(
        self, principal: Principal, app_id: UUID, new: NewTrigger, once: IdempotencyKey | None
    ) -> tuple[Trigger, str | None]:
        """A draft, and the secret part of its URL if it is a webhook; a repeated request gets no secret."""
        rules.check_current(new.config, self._clock.now())
        async with self._database.tenant(principal) as tx:
            row = await tx.fetchrow(SQL.app, principal.org_id, app_id)
            if row is None:
                raise _no_app(app_id)
            _check_may_run(principal, row["project_id"])
            if once and (first := await idempotency.claim(tx, principal, once)):
                return await store.trigger(tx, principal.org_id, app_id, UUID(first["id"])), None
            if await tx.fetchval(SQL.count_triggers, principal.org_id, app_id) >= rules.TRIGGERS_MAX:
                raise Conflict(
                    f"This app has {rules.TRIGGERS_MAX} triggers, the most that an app may have; delete some."
                )
            trigger_id = self._ids.new()
            secret = rules.new_hook() if new.provider is Provider.WEBHOOK else None
            actor = _actor(principal)
            await tx.execute(
                SQL.insert_trigger,
                principal.org_id,
                row["project_id"],
                trigger_id,
                app_id,
                new.name,
                new.provider.value,
                rules.as_json(new.config),
                new.input_transformer,
                self._vault.seal(trigger_id, new.signing_secret) if new.signing_secret else None,
                rules.digest(secret) if secret else None,
                actor.id,
                actor.user,
                actor.id,
            )
            await audit.record(tx, principal, "trigger.create", trigger_id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(trigger_id)}, app_id)
            return await store.trigger(tx, principal.org_id, app_id, trigger_id), secret

    async def list(self, principal: Principal, app_id: UUID, page: PageRequest) -> Page[Trigger]:
        async with self._database.tenant(principal) as tx:
            if await tx.fetchrow(SQL.app, principal.org_id, app_id) is None:
                raise _no_app(app_id)
            found, total = await store.list_triggers(tx, principal.org_id, app_id, page)
        return Page.counted(found, page, total)

    async def get(self, principal: Principal, app_id: UUID, trigger_id: UUID) -> Trigger:
        async with self._database.tenant(principal) as tx:
            return await store.trigger(tx, principal.org_id, app_id, trigger_id)

    async def update(self, principal: Principal, app_id: UUID, trigger_id: UUID, changes: Changes) -> Trigger:
        """Changes config and input_transformer. From then on the trigger acts as the caller. An expired trigger with a
        new time in the future becomes inactive."""
        now = self._clock.now()
        async with self._database.tenant(principal) as tx:
            before = await store.lock_trigger(tx, principal.org_id, app_id, trigger_id)
            _check_may_run(principal, before.project_id)
            config, status = before.config, before.status
            if "config" in changes.fields and changes.config is not None:
                rules.check_current(changes.config, now)
                config = changes.config
                status = TriggerStatus.INACTIVE if status is TriggerStatus.EXPIRED else status
            next_at, wake_at = self._due(config, status)
            unsigned = isinstance(config, Webhook) and config.signature is None
            signed = isinstance(before.config, Webhook) and before.config.signature is not None
            if not unsigned and isinstance(config, Webhook) and not signed and not changes.signing_secret:
                raise BadRequest.field("config.signature.secret", "is required: this webhook has none yet")
            row = await tx.fetchrow(
                SQL.update_trigger,
                principal.org_id,
                trigger_id,
                rules.as_json(config),
                changes.input_transformer if "input_transformer" in changes.fields else before.input_transformer,
                status.value,
                next_at,
                wake_at,
                unsigned,
                self._vault.seal(trigger_id, changes.signing_secret) if changes.signing_secret else None,
                _actor(principal).id,
                _actor(principal).user,
                _actor(principal).id,
                config != before.config or status is not before.status,
            )
            assert row is not None, "the row is locked"
            await audit.record(tx, principal, "trigger.update", trigger_id)
        return store.trigger_of(row)

    async def activate(self, principal: Principal, app_id: UUID, trigger_id: UUID) -> Trigger:
        """Activates it; it acts as the caller. Earlier due times are not caught up on."""
        async with self._database.tenant(principal) as tx:
            before = await store.lock_trigger(tx, principal.org_id, app_id, trigger_id)
            _check_may_run(principal, before.project_id)
            rules.check_move(before.status, TriggerStatus.ACTIVE)
            if before.status is TriggerStatus.ACTIVE:
                return before
            rules.check_current(before.config, self._clock.now())
            return await self._moved(tx, principal, before, TriggerStatus.ACTIVE, "trigger.activate")

    async def deactivate(self, principal: Principal, app_id: UUID, trigger_id: UUID) -> Trigger:
        """Deactivates it, and skips its pending events."""
        async with self._database.tenant(principal) as tx:
            before = await store.lock_trigger(tx, principal.org_id, app_id, trigger_id)
            rules.check_move(before.status, TriggerStatus.INACTIVE)
            if before.status is not TriggerStatus.ACTIVE:
                return before
            await tx.execute(SQL.drop_waiting, principal.org_id, trigger_id, dict(rules.DEACTIVATED))
            return await self._moved(tx, principal, before, TriggerStatus.INACTIVE, "trigger.deactivate")

    async def _moved(
        self, tx: Tx, principal: Principal, before: Trigger, status: TriggerStatus, action: str
    ) -> Trigger:
        next_at, wake_at = self._due(before.config, status)
        actor = _actor(principal) if status is TriggerStatus.ACTIVE else before.actor
        row = await tx.fetchrow(
            SQL.set_status,
            principal.org_id,
            before.id,
            status.value,
            next_at,
            wake_at,
            actor.id,
            actor.user,
            _actor(principal).id,
        )
        assert row is not None, "the row is locked"
        await audit.record(tx, principal, action, before.id)
        return store.trigger_of(row)

    def _due(self, config: Schedule | Webhook, status: TriggerStatus) -> tuple[datetime | None, datetime | None]:
        """(next_at, wake_at) from the present on."""
        if not isinstance(config, Schedule) or status is not TriggerStatus.ACTIVE:
            return None, None
        next_at = schedules.next_instant(config, self._clock.now())
        return next_at, rules.wake_at(config, next_at)

    async def delete(self, principal: Principal, app_id: UUID, trigger_id: UUID) -> None:
        """Deletes it with its log. Its runs stay."""
        async with self._database.tenant(principal) as tx:
            if await tx.fetchval(SQL.delete_trigger, principal.org_id, app_id, trigger_id) is None:
                raise store.no_trigger(app_id, trigger_id)
            await audit.record(tx, principal, "trigger.delete", trigger_id)

    async def renew_hook(self, principal: Principal, app_id: UUID, trigger_id: UUID) -> tuple[Trigger, str]:
        """Another URL for a webhook. The old one stops at once."""
        secret = rules.new_hook()
        async with self._database.tenant(principal) as tx:
            before = await store.lock_trigger(tx, principal.org_id, app_id, trigger_id)
            if before.provider is not Provider.WEBHOOK:
                raise BadRequest("Only a webhook has a URL; this trigger is a schedule.")
            row = await tx.fetchrow(
                SQL.set_hook, principal.org_id, trigger_id, rules.digest(secret), _actor(principal).id
            )
            assert row is not None, "the row is locked"
            await audit.record(tx, principal, "trigger.renew_url", trigger_id)
        return store.trigger_of(row), secret

    async def preview(self, principal: Principal, app_id: UUID, trigger_id: UUID, count: int) -> Sequence[datetime]:
        """The next due times; for an inactive trigger, as if it were activated now."""
        trigger = await self.get(principal, app_id, trigger_id)
        if not isinstance(trigger.config, Schedule):
            raise BadRequest("A webhook has no due times; its sender decides.")
        return list(islice(schedules.instants(trigger.config, self._clock.now()), count))

    # --- events -----------------------------------------------------------------------------------------------------
    async def run_now(self, principal: Principal, app_id: UUID, trigger_id: UUID, once: IdempotencyKey | None) -> Event:
        """Fires an active schedule now, in addition to its due times."""
        now = self._clock.now()
        async with self._database.tenant(principal) as tx:
            trigger = await store.lock_trigger(tx, principal.org_id, app_id, trigger_id)
            if not isinstance(trigger.config, Schedule):
                raise BadRequest("Only a schedule can be run by hand; send a delivery to this webhook's URL instead.")
            if trigger.status is not TriggerStatus.ACTIVE:
                raise BadRequest(f"Only an active trigger can be run; this one is {trigger.status.value}.")
            if once and (first := await idempotency.claim(tx, principal, once)):
                return await self._event(tx, trigger, UUID(first["id"]))
            await self._check_room(tx, trigger)
            payload = schedules.payload(trigger.config, now)
            event = await store.insert_event(tx, trigger, self._ids.new(), Source.MANUAL, payload, now)
            assert event is not None, "it has a new id, and neither an instant nor a delivery"
            await audit.record(tx, principal, "trigger.run", trigger_id)
            if once:
                await idempotency.record(tx, principal, once, {"id": str(event.id)}, app_id)
            tx.notify(CHANNEL)
        return event

    async def events(self, principal: Principal, app_id: UUID, trigger_id: UUID, page: PageRequest) -> Page[Event]:
        """The log, newest first."""
        async with self._database.tenant(principal) as tx:
            await store.trigger(tx, principal.org_id, app_id, trigger_id)
            found, total = await store.list_events(tx, principal.org_id, trigger_id, page)
        return Page.counted(found, page, total)

    async def event(self, principal: Principal, app_id: UUID, trigger_id: UUID, event_id: UUID) -> Event:
        async with self._database.tenant(principal) as tx:
            return await self._event(tx, await store.trigger(tx, principal.org_id, app_id, trigger_id), event_id)

    async def _event(self, tx: Tx, trigger: Trigger, event_id: UUID) -> Event:
        row = await tx.fetchrow(SQL.event, trigger.org_id, trigger.id, event_id)
        if row is None:
            raise NotFound(f"There is no event {event_id} of the trigger {trigger.id}.")
        return store.event_of(row)

    async def receive(self, secret: str, delivery: Delivery) -> tuple[Event, bool]:
        """A delivery to a webhook's URL: its event, and whether it is new. A repeated one starts no run."""
        trigger = await self._hooked(secret, delivery)
        assert isinstance(trigger.config, Webhook), "only a webhook has a URL"
        delivery_id = rules.delivery_id(trigger.config, delivery.headers)
        now = self._clock.now()
        async with self._database.tenant(Principal(trigger.org_id, trigger.project_id, trigger.id)) as tx:
            # Waits for a concurrent deactivation.
            if await tx.fetchval(SQL.share_trigger, trigger.org_id, trigger.id) != TriggerStatus.ACTIVE:
                raise _inactive(replace(trigger, status=TriggerStatus.INACTIVE))
            event = await store.insert_event(
                tx, trigger, self._ids.new(), Source.WEBHOOK, delivery.payload, now, delivery_id=delivery_id
            )
            if event is None:
                row = await tx.fetchrow(SQL.event_of_delivery, trigger.org_id, trigger.id, delivery_id)
                assert row is not None, "what conflicts is there"
                return store.event_of(row), False
            await self._check_room(tx, trigger)
            tx.notify(CHANNEL)
        return event, True

    async def _hooked(self, secret: str, delivery: Delivery) -> Trigger:
        """The active trigger of a URL, if the delivery's signature is valid."""
        async with internal_statement(self._database) as tx:
            row = await tx.fetchrow(SQL.hook, rules.digest(secret))
        if row is None:
            raise NotFound("There is no webhook at this URL; it may have been renewed or deleted.")
        trigger = store.trigger_of(row)
        assert isinstance(trigger.config, Webhook), "only a webhook has a URL"
        if (signature := trigger.config.signature) is not None:
            if row["signing_secret"] is None:
                raise Conflict("This webhook was imported without its signing secret; set config.signature.secret.")
            key = self._vault.open(trigger.id, row["signing_secret"])
            problem = signatures.problem(signature, key, delivery.headers, delivery.body, self._clock.now())
            if problem is not None:
                raise Unauthorized(problem)
        if trigger.status is not TriggerStatus.ACTIVE:
            raise _inactive(trigger)
        if row["archived_at"] is not None:
            raise Conflict(f"The app {trigger.app_id} is archived; it takes no deliveries until it is restored.")
        return trigger

    async def _check_room(self, tx: Tx, trigger: Trigger) -> None:
        """Raises RateLimited if too many events are pending."""
        if await tx.fetchval(SQL.events_waiting, trigger.org_id, trigger.id) > rules.WAITING_MAX:
            message = f"{rules.WAITING_MAX} events of this trigger wait for their runs to begin; send it again later."
            raise RateLimited(message, retry_after_seconds=WAIT_SECONDS)


def _actor(principal: Principal) -> Actor:
    return Actor(principal.user_id or principal.key_id, principal.user_id is not None)


def _check_may_run(principal: Principal, project_id: UUID) -> None:
    """Raises Forbidden if the caller may not run the app."""
    permitted = principal.permitted((RUNS,))
    if permitted is None or not (permitted.projects is None or project_id in permitted.projects):
        raise Forbidden(f"A trigger runs the app in your name, so this needs the permission {RUNS} too.")


def _no_app(app_id: UUID) -> NotFound:
    return NotFound(f"There is no app {app_id}.")


def _inactive(trigger: Trigger) -> Conflict:
    way_out = f"POST /v1/apps/{trigger.app_id}/triggers/{trigger.id}/activate makes it active"
    return Conflict(f"This trigger is {trigger.status.value} and takes no deliveries; {way_out}.")
