"""Usage reports, within the caller's scope."""

from collections.abc import Sequence

from stoa.db import Database
from stoa.kernel.pages import Page, PageRequest
from stoa.kernel.principal import Principal
from stoa.usage import store
from stoa.usage.types import Filter, UsageRow


class UsageReports:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def report(
        self, principal: Principal, which: Filter, groups: Sequence[str], page: PageRequest
    ) -> Page[UsageRow]:
        """Sums over the model calls that match the filter. Without `groups` the report has one row, or none if there
        were no calls."""
        async with self._database.tenant(principal, snapshot=True) as tx:
            rows, total = await store.report(
                tx, principal.org_id, which, groups, page, whole=principal.organization_wide
            )
        return Page(rows, page.page, page.page_size, total)
