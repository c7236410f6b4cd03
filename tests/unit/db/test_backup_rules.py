"""Which backups stay, when the next one is due; where a stream of rows is cut; how files are sealed."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoa.db.backup import rules
from stoa.db.backup.sealing import Checksummed, Sealer, Unsealable, new_key, opened_key
from stoa.db.backup.splitting import Splitter
from stoa.db.backup.types import BackupError, Content, Keep, WrongSecret


def at(moment: datetime) -> str:
    return rules.stamp(moment, lambda: "00000000")


def test_what_is_kept() -> None:
    """Four backups a day for a hundred days."""
    first = datetime(2026, 1, 1, tzinfo=UTC)
    every = [at(first + timedelta(hours=6 * number)) for number in range(400)]
    kept = rules.kept(every, Keep(last=3, daily=4, weekly=3, monthly=3))
    assert [one[4:11] for one in kept] == [
        *("0410T18", "0410T12", "0410T06"),  # the last three; the first of them is of this day, week and month too
        *("0409T18", "0408T18", "0407T18"),  # days
        *("0405T18", "0331T18", "0329T18"),  # a Sunday ends a week; the 31st, March
        "0228T18",
    ]
    assert rules.kept(every, Keep()) == sorted(every, reverse=True), "no rule: everything"
    assert rules.kept(every[:1], Keep(daily=1)) == every[:1]
    assert rules.kept(every, Keep(monthly=1)) == [every[-1]], "the newest always stays"
    assert rules.kept([], Keep(last=1)) == []


def test_a_clock_that_was_ahead_stops_nothing() -> None:
    now = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
    ahead, before, just = at(now + timedelta(days=400)), at(now - timedelta(days=1)), at(now)
    assert rules.newest([before, just, ahead], now) == just, "so the next one is due tomorrow"
    assert rules.newest([ahead], now) is None
    assert just in rules.kept([before, just, ahead], Keep(last=1), just), "what was just taken is not removed at once"


def test_when_a_backup_is_due_and_overdue() -> None:
    now = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
    assert rules.due_at("0 3 * * *", None, now) == now
    assert rules.due_at("0 3 * * *", datetime(2026, 5, 4, 3, 1, tzinfo=UTC), now) == datetime(2026, 5, 5, 3, tzinfo=UTC)
    assert rules.overdue("0 3 * * *", datetime(2026, 5, 4, 3, 1, tzinfo=UTC), now) is None
    late = rules.overdue("0 3 * * *", datetime(2026, 5, 1, 3, 0, tzinfo=UTC), now)
    assert late == "the last backup is of 2026-05-01 03:00 UTC, the next one was due at 2026-05-02 03:00 UTC"
    assert rules.overdue("0 3 * * *", None, now) == "there is no backup yet"
    just = datetime(2026, 5, 3, 11, 30, tzinfo=UTC)
    assert rules.overdue("30 11 * * *", just, now) is None, "it may be under way"


@pytest.mark.parametrize(
    ("expression", "words"), [("0 3 * *", "five fields"), ("61 * * * *", "no cron"), ("0 0 31 2 *", "no cron|never")]
)
def test_invalid_schedules_are_refused(expression: str, words: str) -> None:
    problem = rules.schedule_problem(expression)
    assert problem is not None
    assert any(word in problem for word in words.split("|"))
    assert rules.schedule_problem("0 */6 * * *") is None


def test_two_backups_of_one_second_are_in_order() -> None:
    first, second = datetime(2026, 5, 4, 3, 0, 0, 1_000, UTC), datetime(2026, 5, 4, 3, 0, 0, 2_999, UTC)
    names = [rules.stamp(first, lambda: "f"), rules.stamp(second, lambda: "0")]
    assert names == ["20260504T030000.001Z-f", "20260504T030000.002Z-0"] == sorted(names)
    assert [rules.taken_at(one) for one in names] == [first, second.replace(microsecond=2_000)]


def test_invalid_backup_ids_are_refused() -> None:
    for text in ("../../etc/passwd", "", "20261399T000000Z-1a2b3c4d"):
        with pytest.raises(BackupError):
            rules.check_identity(text)


def pieces(rows: list[bytes]) -> list[bytes]:
    splitter = Splitter(target=2_000, least=500, most=8_000)
    return [piece for row in rows for piece in splitter.feed(row)] + list(splitter.end())


@given(st.lists(st.binary(max_size=300).map(lambda row: row.replace(b"\n", b"") + b"\n"), max_size=60))
def test_pieces_are_the_rows(rows: list[bytes]) -> None:
    cut = pieces(rows)
    assert b"".join(cut) == b"".join(rows)
    assert all(0 < len(piece) <= 8_000 for piece in cut)


def test_an_inserted_deleted_or_changed_row_changes_one_or_two_pieces() -> None:
    chance = random.Random(5)
    rows = [
        b"%d\t%s\n" % (number, chance.randbytes(chance.randrange(10, 200)).hex().encode()) for number in range(2_000)
    ]
    before = set(pieces(rows))
    assert 50 < len(before) < 400
    for changed in (
        [*rows[:900], b"new\n", *rows[900:]],
        [*rows[:900], *rows[901:]],
        [*rows[:900], b"900\tchanged\n", *rows[901:]],
        [*rows, b"at the end\n"],
    ):
        assert len(set(pieces(changed)) - before) <= 3


@pytest.mark.parametrize("secret", [None, b"correct horse"])
@pytest.mark.parametrize("content", [b"", b"x", b"text of COPY\t\\N\n" * 1_000, random.Random(1).randbytes(5_000)])
def test_whatever_is_changed_in_a_file_is_noticed(secret: bytes | None, content: bytes) -> None:
    sealer: Sealer = Checksummed() if secret is None else new_key(secret)[1]
    name = sealer.name(content)
    sealed = sealer.seal(name, content)
    assert sealer.open(name, sealed) == content
    for place in {0, 1, len(sealed) // 2, len(sealed) - 1}:
        with pytest.raises(Unsealable):
            sealer.open(name, sealed[:place] + bytes([sealed[place] ^ 4]) + sealed[place + 1 :])
    for cut in (b"", sealed[:-1], sealed[: len(sealed) // 2], sealed + b"x"):
        with pytest.raises(Unsealable):
            sealer.open(name, cut)
    if secret is not None:
        with pytest.raises(Unsealable):
            sealer.open("0" * 64, sealed)


def test_only_its_secret_opens_a_key() -> None:
    written, sealer = new_key(b"correct horse")
    assert opened_key(written, b"correct horse").name(b"x") == sealer.name(b"x")
    assert new_key(b"correct horse")[1].name(b"x") != sealer.name(b"x"), "each repository has a key of its own"
    for wrong in (b"correct horsf", None):
        with pytest.raises(WrongSecret):
            opened_key(written, wrong)
    with pytest.raises(BackupError, match="at least"):
        new_key(b"short")


def test_a_line_of_the_list_of_files() -> None:
    assert Content("blobs/a/b/c", 5, ["1", "2"]).line() == b"blobs/a/b/c\t5\t1 2\n"
    assert Content("blobs/a/b/c", None, ()).line() == b"blobs/a/b/c\t-\t\n"
