"""What the tests of a whole installation share."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.browsers import chromium


@pytest.fixture(scope="session")
async def launched() -> AsyncIterator[Any]:
    """Chromium, started once in each worker."""
    async with chromium() as browser:
        yield browser
