"""The bill, as its readers see it: what was used and what it cost, by whatever they ask. Runs and the reading of pages
write its lines. Front door."""

from stoa.usage.api import routes
from stoa.usage.service import UsageReports
from stoa.usage.worker import Summing

__all__ = ["Summing", "UsageReports", "routes"]
