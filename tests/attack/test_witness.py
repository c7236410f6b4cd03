"""The witness of the attacks: its bound is the promised one wherever the machine is quiet."""

from dataclasses import replace

from tests.support.witness import HEALTH_P99_SECONDS_MAX, Seen

QUIET = Seen(answers=[0.01] * 100, late=[0.002] * 100, ran=2.0, waited=1.0, memory_before=0, memory_largest=0)


def test_where_the_machine_is_quiet_the_bound_is_the_promised_one() -> None:
    assert QUIET.bound == HEALTH_P99_SECONDS_MAX


def test_where_sleeps_end_late_the_bound_grows_as_the_server_s_work_did() -> None:
    crowded = replace(QUIET, late=[0.02] * 100, waited=6.0)
    assert abs(crowded.bound - (4 * HEALTH_P99_SECONDS_MAX + 0.02)) < 1e-9
    assert abs(replace(crowded, waited=0.0).bound - (HEALTH_P99_SECONDS_MAX + 0.02)) < 1e-9


def test_where_the_server_mostly_waits_for_a_processor_the_machine_is_not_quiet_though_sleeps_end_in_time() -> None:
    assert abs(replace(QUIET, waited=6.0).bound - (4 * HEALTH_P99_SECONDS_MAX + 0.002)) < 1e-9
