"""Counts of several processes: each sees the sum, and a dead one's are cleared."""

import os
from uuid import uuid4

from stoa.kernel.shared_counts import SharedCounts, memory_for


def test_each_process_sees_the_sum_and_rows_of_dead_processes_are_cleared() -> None:
    descriptor, key = memory_for(3), os.urandom(16)
    one, two = SharedCounts(descriptor, 3, key).row(0), SharedCounts(descriptor, 3, key).row(2)
    assert [one.add("192.0.2.1", 1), two.add("192.0.2.1", 1), two.add("192.0.2.1", 1)] == [1, 2, 3]
    assert one.add("2001:db8::1", 1) == 1
    assert one.add("192.0.2.1", -1) == 2
    SharedCounts(descriptor, 3, key).clear(2)
    assert one.add("192.0.2.1", 0) == 0
    assert one.add("192.0.2.1", -1) == 0, "never below nothing"
    assert one.add("2001:db8::1", 0) == 1
    os.close(descriptor)


def test_the_cells_of_names_depend_on_a_secret() -> None:
    """Whoever could find addresses that share a cell with another one could lock that out."""
    descriptor = memory_for(2)
    one = SharedCounts(descriptor, 2, b"a" * 16).row(0)
    other = SharedCounts(descriptor, 2, b"b" * 16).row(1)
    names = [str(uuid4()) for _ in range(50)]
    assert [one.add(name, 1) for name in names] != [other.add(name, 1) + 1 for name in names]
    assert sum(other.add(name, 0) == 2 for name in names) < 5
    os.close(descriptor)
