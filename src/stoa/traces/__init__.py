"""Traces: spans of other programs and of this server's runs. Front door."""

from stoa.traces.service import Collector, Traces

__all__ = ["Collector", "Traces"]
