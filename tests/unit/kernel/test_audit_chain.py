"""A file of the audit is one unbroken chain, or says where it is broken."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from stoa.kernel.audit_chain import GENESIS, digest, verify

Lines = list[dict[str, Any]]


def chain(count: int, first: int = 1, before: bytes = GENESIS) -> Lines:
    made: Lines = []
    for sequence in range(first, first + count):
        entry = {"sequence": sequence, "action": "app.create", "changes": [{"after": {"name": f"Ä{sequence}"}}]}
        after = digest(before, entry)
        made.append({"sequence": sequence, "previous": before.hex(), "hash": after.hex(), "entry": entry})
        before = after
    return made


def checked(lines: Lines) -> str | None:
    return verify(json.dumps(one) + "\n" for one in lines).problem


def test_an_unbroken_chain_and_a_part_of_one() -> None:
    whole = chain(20)
    found = verify(json.dumps(one) for one in whole)
    assert (found.problem, found.first, found.last, found.hash) == (None, 1, 20, whole[-1]["hash"])
    assert verify(json.dumps(one) for one in whole[7:]).first == 8
    assert checked(whole[:-3]) is None, "a cut at the end shows in the head alone"


def _changed(lines: Lines) -> Lines:
    lines[4]["entry"]["action"] = "app.delete"
    return lines


def _rehashed(lines: Lines) -> Lines:
    lines[4]["entry"]["action"] = "app.delete"
    lines[4]["hash"] = digest(bytes.fromhex(lines[4]["previous"]), lines[4]["entry"]).hex()
    return lines


def _renumbered(lines: Lines) -> Lines:
    del lines[4]
    for number, one in enumerate(lines, 1):
        one["sequence"] = number
    return lines


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        (_changed, "sequence 5) was changed"),
        (_rehashed, "does not continue"),
        (lambda lines: lines[:4] + lines[5:], "5 is missing"),
        (_renumbered, "does not continue"),
        (lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]], "5 is missing"),
        (lambda lines: [*lines[:4], lines[3], *lines[4:]], "5 is missing"),
        (lambda lines: chain(1, 1, b"x" * 32) + lines[1:], "continues something"),
        (lambda lines: [*lines, {"sequence": "x"}], "no line of an audit"),
        (lambda lines: [{**lines[0], "previous": "zz"}], "no line of an audit"),
        (lambda _: [], "no line"),
    ],
)
def test_tampering_is_detected(tamper: Callable[[Lines], Lines], says: str) -> None:
    problem = checked(tamper(chain(9)))
    assert problem is not None
    assert says in problem
