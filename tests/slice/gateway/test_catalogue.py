"""A node that has not been able to ask a provider yet still calls the models that the table knows."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from stoa.db import Database
from stoa.db.internal import internal
from stoa.gateway.catalogue import NAMESPACE, Catalogue, uuid5
from stoa.gateway.offers import Offer, Provider, ProviderError
from stoa.gateway.secrets import Vault
from stoa.gateway.types import Capabilities, Endpoint, Model
from stoa.kernel.errors import BadRequest, DatabaseUnavailable
from tests.support.doubles import ScriptedModel

OFFER = Offer("small", "Small", Capabilities(images=False, tools=True))
ORG, PROJECT = UUID(int=1), UUID(int=2)
SMALL, GONE = uuid5(NAMESPACE, "far/small"), uuid5(NAMESPACE, "far/gone")


class Far:
    """A provider that answers, or does not."""

    def __init__(self) -> None:
        self.answers = True
        self.built: list[Offer] = []
        self.asked = 0

    async def offers(self) -> Sequence[Offer]:
        self.asked += 1
        if not self.answers:
            raise ProviderError("connection refused")
        return [OFFER]

    def build(self, offer: Offer) -> Model:
        self.built.append(offer)
        return ScriptedModel([])


def connected(_endpoint: Endpoint, _offer: Offer) -> Model:
    return ScriptedModel([])


@asynccontextmanager
async def catalogue(database: Database, far: Far) -> AsyncGenerator[Catalogue]:
    provider = Provider("far", far.offers, far.build)
    builtin = ("stoa/builtin", ScriptedModel([]))
    opened = Catalogue(database, Vault(b"0" * 32), builtin, [provider], connected, None)
    await opened.start()
    try:
        yield opened
    finally:
        await opened.stop()


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    opened = await Database.open(dsn, connections_max=2)
    yield opened
    await opened.close()


async def test_a_model_that_another_node_has_listed_is_called_before_its_provider_answers(database: Database) -> None:
    far = Far()
    async with catalogue(database, far):
        pass  # Another node, or this one before its restart.
    far.answers, far.built = False, []
    async with catalogue(database, far) as starting:
        async with internal(database) as tx:
            await starting.check(tx, SMALL)
        slug, _ = await starting.model(ORG, PROJECT, SMALL)
    assert slug == "far/small"
    assert far.built == [OFFER], "as the provider said it to the other node"


async def test_what_a_provider_no_longer_has_is_refused(database: Database) -> None:
    async with internal(database) as tx:
        await tx.execute(
            "INSERT INTO models (id, slug, name, provider, wire_name, abilities)"
            " VALUES ($1, 'far/gone', 'G', 'far', 'gone', '{}')",
            GONE,
        )
    async with catalogue(database, Far()) as listed:
        with pytest.raises(BadRequest):
            await listed.model(ORG, PROJECT, GONE)


async def test_a_database_that_is_away_when_a_provider_answers_is_asked_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It used to be asked never again: the node had no model of this provider until its restart."""
    monkeypatch.setattr("stoa.gateway.catalogue.ADD_AGAIN_SECONDS", 0.01)
    far = Far()
    async with catalogue(database, far) as found:
        add, refused = found._add, [2]  # pyright: ignore[reportPrivateUsage]

        async def away(*arguments: object, **more: object) -> None:
            if refused[0]:
                refused[0] -= 1
                raise DatabaseUnavailable("away")
            await add(*arguments, **more)  # pyright: ignore[reportArgumentType]

        monkeypatch.setattr(found, "_add", away)
        async with asyncio.timeout(10):
            await found._probe(Provider("far", far.offers, far.build))  # pyright: ignore[reportPrivateUsage]
    assert not refused[0]
