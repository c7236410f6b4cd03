"""Circuit breakers: a provider that keeps failing is not called for a while, so that calls fall back at once."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from stoa.gateway.types import ModelError

FAILURES_MAX: Final = 5
"""Failures in a row that open the circuit."""
OPEN_SECONDS: Final = 15.0
CIRCUITS_MAX: Final = 1_000
"""Further providers (tenants' connections) have no circuit."""
COUNTED: Final = frozenset(
    {"model_overloaded", "model_unreachable", "model_timeout", "model_stalled", "model_stream_truncated", "model_error"}
)
"""Failures of a provider itself. A refusal or a rate limit shows that it works."""


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    opened_at: float | None = None
    trying: bool = False
    """Half open: one call is let through, and its outcome closes or opens the circuit."""


class Breakers:
    """One circuit per provider, on this node."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._circuits: dict[str, _Circuit] = {}

    def state(self, name: str) -> CircuitState:
        circuit = self._circuits.get(name)
        if circuit is None or circuit.opened_at is None:
            return CircuitState.CLOSED
        return CircuitState.OPEN if self._seconds_left(circuit) > 0 else CircuitState.HALF_OPEN

    def states(self) -> dict[str, CircuitState]:
        """The circuit states of providers that have failed recently."""
        return {name: self.state(name) for name in self._circuits}

    def admit(self, name: str) -> bool:
        """Whether a call may be made now. The outcome of an admitted call must be reported: `succeeded`, `failed` or
        `left`."""
        circuit = self._circuits.get(name)
        if circuit is None or circuit.opened_at is None:
            return True
        if self._seconds_left(circuit) > 0 or circuit.trying:
            return False
        circuit.trying = True
        return True

    def seconds_left(self, name: str) -> float:
        """Seconds until the next call may be tried."""
        circuit = self._circuits.get(name)
        return max(self._seconds_left(circuit), 1.0) if circuit is not None and circuit.opened_at is not None else 0.0

    def succeeded(self, name: str) -> None:
        self._circuits.pop(name, None)

    def left(self, name: str) -> None:
        """Reports that the call ended for a reason that says nothing about the provider."""
        if (circuit := self._circuits.get(name)) is not None:
            circuit.trying = False

    def failed(self, name: str, error: ModelError) -> None:
        if error.code not in COUNTED:
            self.left(name)
            return
        if name not in self._circuits and len(self._circuits) >= CIRCUITS_MAX:
            return
        circuit = self._circuits.setdefault(name, _Circuit())
        circuit.failures += 1
        if circuit.trying or circuit.failures >= FAILURES_MAX:
            circuit.opened_at, circuit.trying = self._monotonic(), False

    def _seconds_left(self, circuit: _Circuit) -> float:
        assert circuit.opened_at is not None
        return circuit.opened_at + OPEN_SECONDS - self._monotonic()
