"""Converters that the tests of a module share: the process that readers are forked from takes a second to start."""

import sys
from collections.abc import AsyncIterator, Mapping

import pytest

from stoa.documents.converting import Converter


@pytest.fixture
def forks() -> bool:
    return sys.platform == "linux"


@pytest.fixture(scope="module")
async def converters() -> AsyncIterator[Mapping[bool, Converter]]:
    """By whether they fork."""
    made = {forks: Converter(seconds_max=20, forks=forks) for forks in (True, False)}
    yield made
    for one in made.values():
        await one.close()


@pytest.fixture
def converter(converters: Mapping[bool, Converter], forks: bool) -> Converter:
    return converters[forks]
