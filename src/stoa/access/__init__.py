"""Organizations, projects, keys. Front door."""

from stoa.access.api import routes
from stoa.access.rules import PERMISSIONS
from stoa.access.service import Access, BootstrapError

__all__ = ["PERMISSIONS", "Access", "BootstrapError", "routes"]
