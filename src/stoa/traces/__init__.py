"""Traces: spans of other programs and of this server's runs. The public interface."""

from stoa.traces.export import headers_of
from stoa.traces.exporting import Endpoint
from stoa.traces.service import Collector, Traces

__all__ = ["Collector", "Endpoint", "Traces", "headers_of"]
