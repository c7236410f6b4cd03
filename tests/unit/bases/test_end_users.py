"""Whom a run searches knowledge bases for."""

from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import pytest

from stoa import bases, runs
from stoa.app.adapters import KnowledgeLibrary

APP, KEY = UUID(int=1), UUID(int=2)


@dataclass
class Asked:
    """A search that keeps what it is asked."""

    user: str | None = None
    groups: Any = None

    async def search_all(self, *asked: Any) -> list[Any]:
        self.user, self.groups = asked[-2:]
        return []


@dataclass
class Run:
    user_id: str | None
    created_by: UUID | None
    app_id: UUID | None
    id: UUID = APP
    org_id: UUID = APP
    project_id: UUID = APP


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (Run("ada", KEY, None), ("ada", None)),
        (Run("ada", KEY, APP), ("ada", None)),
        (Run(None, KEY, None), (None, None)),
        (Run("ada", APP, APP), (None, ())),
        (Run(None, APP, APP), (None, ())),
    ],
)
async def test_callers_without_a_key_see_nothing_restricted(run: Run, expected: tuple[Any, Any]) -> None:
    asked = Asked()
    await KnowledgeLibrary(cast("bases.Search", asked)).look(cast("runs.Run", run), [APP], "x", None)
    assert (asked.user, asked.groups) == expected
