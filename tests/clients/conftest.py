"""The scripted server, one for all cases."""

from collections.abc import Iterator

import pytest

from tests.support.scripted_stoa import ScriptedStoa


@pytest.fixture(scope="package")
def scripted() -> Iterator[ScriptedStoa]:
    with ScriptedStoa().running() as server:
        yield server
