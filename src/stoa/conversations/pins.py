"""The list of pinned conversations, which a partial index serves."""

from uuid import UUID

from stoa.conversations.store import SQL, listed
from stoa.conversations.types import Conversation
from stoa.db import Tx
from stoa.kernel.pages import COUNT_MAX, Page, PageRequest


async def page_of(
    tx: Tx, org_id: UUID, page: PageRequest, model_id: UUID | None, app_id: UUID | None, user_id: str | None
) -> Page[Conversation]:
    """Those that are pinned, the last pinned first unless the page is sorted; None filters nothing."""
    if user_id is not None and "\x00" in user_id:
        return Page((), page.page, page.page_size, 0)  # PostgreSQL's text holds no NUL, so no row matches.
    order = page.order_by("pinned_at DESC")
    found = await tx.fetch(
        SQL.pinned_conversations.format(order=order), org_id, model_id, app_id, user_id, page.page_size, page.offset
    )
    count = await tx.fetchval(SQL.count_pinned, org_id, model_id, app_id, user_id, COUNT_MAX + 1)
    return Page.counted(await listed(tx, org_id, [row["id"] for row in found]), page, count)
