"""The JSON shapes of triggers (contract section 6)."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AwareDatetime, Field, ValidationError, model_validator

from stoa.http import Body, Timestamp, Wire
from stoa.http.errors import FieldMismatch, explain
from stoa.http.wire import not_blank
from stoa.kernel.errors import BadRequest
from stoa.kernel.json_paths import CHARACTERS_MAX
from stoa.triggers import rules, schedules, transforming
from stoa.triggers.types import (
    CatchUp,
    Changes,
    Config,
    Event,
    EventStatus,
    NewTrigger,
    Provider,
    Schedule,
    Signature,
    Trigger,
    Webhook,
)

Name = Annotated[str, Field(max_length=200), AfterValidator(not_blank)]
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")


def _timezone(name: str) -> str:
    if problem := schedules.timezone_problem(name):
        raise ValueError(problem)
    return name


def _cron(expression: str) -> str:
    if problem := schedules.cron_problem(expression):
        raise ValueError(problem)
    return " ".join(expression.split())


def _path(expression: str) -> str:
    if problem := transforming.problem(expression):
        raise ValueError(problem)
    return expression


def _selector(fields: dict[str, Any]) -> dict[str, Any]:
    for name, value in fields.items():
        if transforming.is_path(value) and (problem := transforming.problem(value)):
            raise ValueError(f"has a field {name[:100]!r} that {problem}")
    return fields


def _header(name: str) -> str:
    if not _HEADER.fullmatch(name):
        raise ValueError("is no name of a header")
    return name


Header = Annotated[str, AfterValidator(_header)]


# --- in -------------------------------------------------------------------------------------------------------------
class ScheduleConfig(Body):
    """Exactly one of `schedule` (five fields of cron, in `timezone`) and `run_at`, which is read in `timezone` where it
    has no offset. `catch_up` says what becomes of due times that passed while no server was up: `skip` them, run the
    `last` one, or `all`."""

    timezone: Annotated[str, Field(max_length=100), AfterValidator(_timezone)]
    schedule: Annotated[str, Field(max_length=200), AfterValidator(_cron)] | None = None
    run_at: datetime | None = None
    expires_at: AwareDatetime | None = None
    catch_up: Literal["skip", "last", "all"] = "last"

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        if (self.schedule is None) == (self.run_at is None):
            raise ValueError("needs exactly one of schedule and run_at")
        if self.run_at is not None and self.expires_at is not None:
            raise FieldMismatch("expires_at", "cannot be sent together with run_at, which comes once")
        return self


class SignatureConfig(Body):
    """`standard` is Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature`); `hmac-sha256` is the
    hex digest of the body in `header`. The secret is write-only; left out in a change, the one before stays."""

    scheme: Literal["standard", "hmac-sha256"]
    secret: Annotated[str, Field(min_length=16, max_length=500), AfterValidator(not_blank)] | None = None
    header: Header = "X-Hub-Signature-256"


class WebhookConfig(Body):
    """A delivery whose id was seen before starts nothing. Its id is in `delivery_header`; left out, in the first of
    `webhook-id`, `X-GitHub-Delivery`, `X-Gitlab-Event-UUID`, `Idempotency-Key` and `ce-id` that is sent."""

    delivery_header: Header | None = None
    signature: SignatureConfig | None = None


class InputTransformer(Body):
    """`path` chooses a part of the event's payload by JSONPath; `selector` makes the fields of the run's input, each a
    JSONPath into that part or a value as it stands. Left out, the payload is the input."""

    path: Annotated[str, Field(min_length=1, max_length=CHARACTERS_MAX), AfterValidator(_path)] | None = None
    selector: Annotated[dict[str, Any], Field(max_length=100), AfterValidator(_selector)] | None = None


class CreateSchedule(Body):
    example: ClassVar[Mapping[str, Any]] = {
        "name": "weekly report",
        "provider": "schedule",
        "config": {"timezone": "Europe/Berlin", "schedule": "0 9 * * 1"},
        "input_transformer": {"selector": {"input": "Write the weekly report."}},
    }

    name: Name
    provider: Literal["schedule"]
    config: ScheduleConfig
    input_transformer: InputTransformer | None = None


class CreateWebhook(Body):
    example: ClassVar[Mapping[str, Any]] = {
        "name": "new issue",
        "provider": "webhook",
        "config": {},
        "input_transformer": {"selector": {"input": "$.issue.title"}},
    }

    name: Name
    provider: Literal["webhook"]
    config: WebhookConfig = Field(default_factory=WebhookConfig)
    input_transformer: InputTransformer | None = None


CreateTrigger = Annotated[CreateSchedule | CreateWebhook, Field(discriminator="provider")]


class UpdateTrigger(Body):
    """What is left out stays. `name` and `provider` may be sent, and never change."""

    example: ClassVar[Mapping[str, Any]] = {"config": {"timezone": "Europe/Berlin", "schedule": "0 10 * * 1"}}

    name: str | None = None
    provider: str | None = None
    config: dict[str, Any] | None = None
    input_transformer: InputTransformer | None = None


def new_trigger(body: CreateSchedule | CreateWebhook) -> NewTrigger:
    config, secret = _config(body.config)
    if isinstance(config, Webhook) and config.signature is not None and secret is None:
        raise BadRequest.field("config.signature.secret", "is required")
    return NewTrigger(body.name, Provider(body.provider), config, _transformer(body.input_transformer), secret)


def changes(body: UpdateTrigger, before: Trigger) -> Changes:
    """Raises BadRequest for what never changes, and for a config that is not one of this provider's."""
    if body.name is not None and body.name != before.name:
        raise BadRequest.field("name", f"never changes: this trigger is {before.name!r}; make another one instead")
    if body.provider is not None and body.provider != before.provider:
        raise BadRequest.field(
            "provider", f"never changes: this trigger is a {before.provider.value}; make another one"
        )
    if body.config is None:
        return Changes(frozenset(body.model_fields_set) - {"config"}, None, _transformer(body.input_transformer))
    kind = ScheduleConfig if before.provider is Provider.SCHEDULE else WebhookConfig
    try:
        config, secret = _config(kind.model_validate(body.config))
    except ValidationError as error:
        found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
        problems = {
            "config" if path == "body" else f"config.{path}": reason for path, reason in explain(found, kind).items()
        }
        raise BadRequest("; ".join(f"{path} {why}" for path, why in problems.items()), details=problems) from error
    return Changes(frozenset(body.model_fields_set), config, _transformer(body.input_transformer), secret)


def _config(body: ScheduleConfig | WebhookConfig) -> tuple[Config, str | None]:
    """With the signing secret of a webhook."""
    if isinstance(body, WebhookConfig):
        sent = body.signature
        signature = Signature(sent.scheme, sent.header) if sent else None
        return Webhook(body.delivery_header, signature), sent.secret if sent else None
    run_at = body.run_at
    if run_at is not None:
        local = run_at.tzinfo is None
        run_at = schedules.at_once_or_later(run_at, body.timezone) if local else run_at.astimezone(UTC)
    expires_at = body.expires_at.astimezone(UTC) if body.expires_at else None
    return Schedule(body.timezone, body.schedule, run_at, expires_at, CatchUp(body.catch_up)), None


def _transformer(body: InputTransformer | None) -> dict[str, Any] | None:
    return body.model_dump(exclude_none=True) if body is not None else None


# --- out ------------------------------------------------------------------------------------------------------------
class TriggerProblemWire(Wire):
    code: str
    message: str


class TriggerWire(Wire):
    """`next_at` is the next due time of an active schedule; `problem` says why the server stopped it."""

    id: UUID
    app_id: UUID
    project_id: UUID
    name: str
    provider: Literal["schedule", "webhook"]
    config: dict[str, Any]
    input_transformer: dict[str, Any] | None
    status: Literal["draft", "active", "inactive", "expired"]
    next_at: Timestamp | None
    problem: TriggerProblemWire | None
    created_by: UUID | None
    created_at: Timestamp
    updated_by: UUID | None
    updated_at: Timestamp


class HookWire(TriggerWire):
    """`webhook_url` is secret, and shown this once: whoever knows it can start runs."""

    webhook_url: str | None


class TriggerEventWire(Wire):
    """`accepted`: the run `run_id` has begun. `failed` says why none did. `skipped`: due times that were missed, or the
    trigger was deactivated first."""

    id: UUID
    trigger_id: UUID
    source: Literal["schedule", "webhook", "manual"]
    status: Literal["pending", "accepted", "failed", "skipped"]
    payload: dict[str, Any]
    due_at: Timestamp | None
    delivery_id: str | None
    received_at: Timestamp
    run_id: UUID | None
    error: TriggerProblemWire | None


class DueTimeWire(Wire):
    """The same moment in UTC, and as the zone's clock shows it."""

    at: Timestamp
    local_time: str


def _fields(value: Trigger) -> dict[str, Any]:
    return {
        "id": value.id,
        "app_id": value.app_id,
        "project_id": value.project_id,
        "name": value.name,
        "provider": value.provider.value,
        "config": _shown(value.config),
        "input_transformer": dict(value.input_transformer) if value.input_transformer is not None else None,
        "status": value.status.value,
        "next_at": value.next_at,
        "problem": TriggerProblemWire(**value.problem) if value.problem else None,
        "created_by": value.created_by,
        "created_at": value.created_at,
        "updated_by": value.updated_by,
        "updated_at": value.updated_at,
    }


def _shown(config: Config) -> dict[str, Any]:
    stored = rules.as_json(config)
    if isinstance(config, Schedule):
        times = {"run_at": config.run_at, "expires_at": config.expires_at}
        stored |= {name: _rfc3339(value) for name, value in times.items() if value is not None}
    return stored


def _rfc3339(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def trigger(value: Trigger) -> TriggerWire:
    return TriggerWire(**_fields(value))


def hook(value: Trigger, secret: str | None, root: str) -> HookWire:
    """`root` is where this server is reached from outside."""
    return HookWire(**_fields(value), webhook_url=f"{root.rstrip('/')}/v1/hooks/{secret}" if secret else None)


def event(value: Event) -> TriggerEventWire:
    status = EventStatus.PENDING if value.status is EventStatus.STARTING else value.status
    return TriggerEventWire(
        id=value.id,
        trigger_id=value.trigger_id,
        source=value.source.value,
        status=status.value,
        payload=dict(value.payload),
        due_at=value.due_at,
        delivery_id=value.delivery_id,
        received_at=value.received_at,
        run_id=value.run_id,
        error=TriggerProblemWire(**value.error) if value.error else None,
    )


def due(value: Trigger, times: Sequence[datetime]) -> list[DueTimeWire]:
    assert isinstance(value.config, Schedule), "a webhook has no due times"
    zone = ZoneInfo(value.config.timezone)
    return [DueTimeWire(at=one, local_time=one.astimezone(zone).isoformat()) for one in times]
