"""Reports over the bill: tokens and cost, grouped and filtered. Runs and OCR write its lines. The public interface."""

from stoa.usage.api import routes
from stoa.usage.service import UsageReports
from stoa.usage.worker import Summing

__all__ = ["Summing", "UsageReports", "routes"]
