"""The JSON shape of a usage report."""

from datetime import date
from typing import Literal
from uuid import UUID

from stoa.http import Wire
from stoa.usage.types import UsageRow


class UsageWire(Wire):
    """Fields that were grouped by, and sums. A group without a value (of a deleted conversation, say) leaves its field
    out.

    `cost_usd` is by the operator's prices; `unpriced_calls` of models without a price are not in it. `estimated_calls`:
    their tokens were counted by us, because the provider did not say.
    """

    day: date | None
    model: str | None
    key_id: UUID | None
    project_id: UUID | None
    user_id: str | None
    conversation_id: UUID | None
    run_id: UUID | None
    kind: Literal["run", "ocr", "gateway", "cache"] | None
    knowledgebase_id: UUID | None
    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    total_tokens: int
    cost_usd: float
    estimated_calls: int
    unpriced_calls: int


def usage(row: UsageRow) -> UsageWire:
    of = row.of
    return UsageWire(
        day=of.get("day"),
        model=of.get("model"),
        key_id=of.get("key_id"),
        project_id=of.get("project_id"),
        user_id=of.get("user_id"),
        conversation_id=of.get("conversation_id"),
        run_id=of.get("run_id"),
        kind=of.get("kind"),
        knowledgebase_id=of.get("knowledgebase_id"),
        calls=row.calls,
        prompt_tokens=row.prompt_tokens,
        cached_tokens=row.cached_tokens,
        completion_tokens=row.completion_tokens,
        reasoning_tokens=row.reasoning_tokens,
        total_tokens=row.prompt_tokens + row.completion_tokens,
        cost_usd=round(row.cost_usd, 9),
        estimated_calls=row.estimated_calls,
        unpriced_calls=row.unpriced_calls,
    )
