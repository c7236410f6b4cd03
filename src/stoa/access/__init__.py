"""Organizations, projects, keys. Front door."""

from stoa.access.api import routes
from stoa.access.rules import PERMISSIONS
from stoa.access.service import Access, BootstrapError
from stoa.access.sessions import Sessions

__all__ = ["PERMISSIONS", "Access", "BootstrapError", "Sessions", "routes"]
