"""How a node's places are shared by projects, and the one table of lease times."""

import re
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from stoa.kernel.leases import CALLBACK, FIRING, ITEM, RUN, SYNC, Places

ROOT = Path(__file__).parents[3]
LEASES = {
    "run": RUN,
    "item of a knowledge base": ITEM,
    "sync of a source": SYNC,
    "callback of a run": CALLBACK,
    "event of a trigger": FIRING,
}
"""As the operator's page names them."""


def fill(places: Places, project: UUID) -> int:
    """Takes whatever the project may have, one at a time; gives how many."""
    taken = 0
    while places.room(project):
        places.take(project)
        taken += 1
    return taken


def test_one_project_alone_gets_nine_tenths_and_leaves_room_for_others() -> None:
    places, greedy, other, third = Places(2_000), uuid4(), uuid4(), uuid4()
    assert fill(places, greedy) == 1_800
    assert fill(places, other) == 180
    assert fill(places, third) == 18
    assert places.room(uuid4()) > 0


@pytest.mark.parametrize("places_max", range(1, 10))
def test_a_single_project_can_use_all_of_a_small_node(places_max: int) -> None:
    assert fill(Places(places_max), uuid4()) == places_max


def test_an_operators_cap_holds_whatever_is_free() -> None:
    places, capped = Places(100, 7), uuid4()
    assert fill(places, capped) == 7
    assert places.room(None) == 0, "a project that is not known yet may be the one that is full"
    places.leave(capped)
    assert places.room(capped) == places.room(None) == 1
    places.take(None)
    assert (places.room(None), places.room(capped)) == (0, 1)
    places.leave(None)
    assert places.room(None) == 1


@pytest.mark.parametrize("cap", [None, 3, 40])
def test_several_places_at_once_are_as_many_as_one_by_one(cap: int | None) -> None:
    for before in range(60):
        at_once, one_by_one, project = Places(60, cap), Places(60, cap), uuid4()
        for _ in range(before):
            other = uuid4()
            at_once.take(other)
            one_by_one.take(other)
        assert at_once.room(project) == fill(one_by_one, project)


def test_a_claim_respects_every_projects_share_and_the_free_capacity() -> None:
    places, one, other = Places(10, 4), uuid4(), uuid4()
    for _ in range(4):
        places.take(one)
    places.take(other)
    wanted = places.wanted(50)
    assert wanted.jobs_max == 5
    assert dict(zip(wanted.projects, wanted.rooms, strict=True)) == {one: 0, other: 3}
    assert wanted.room_of_others == 4
    for project in (one, one, one, one, other):
        places.leave(project)
    assert (places.taken, list(places.wanted(50).projects)) == (0, [])


def test_projects_take_turns() -> None:
    places = Places(10)
    first, second, third = (UUID(int=number) for number in (1, 2, 3))
    places.served([second])
    assert places.wanted(1).after == second
    places.served([third, first])  # It went past the end and began again.
    assert places.wanted(1).after == first
    places.served([])
    assert places.wanted(1).after == first


def test_the_guides_say_what_the_table_says() -> None:
    assert RUN.renew_seconds * 3 <= RUN.seconds, "two renewals may be lost"
    for lease in LEASES.values():
        assert lease.renew_seconds * 3 <= lease.seconds
    handbook = (ROOT / "docs/handbook/handbook.md").read_text("utf-8")
    assert re.search(rf"\| Lease of a run \| {RUN.seconds:g} seconds, renewed every second \|", handbook)
    assert f"a lease of {RUN.seconds:g} seconds" in handbook
    operate = (ROOT / "docs/guide/operate.md").read_text("utf-8")
    for name, lease in LEASES.items():
        times = " | ".join(f"{seconds:g} s" for seconds in (lease.seconds, lease.renew_seconds, lease.poll_seconds))
        row = f"| {name} | {times} | {lease.attempts_max} |"
        assert row in operate, row
