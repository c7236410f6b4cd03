"""Sources of knowledge bases: websites, directories, buckets and repositories, kept in step. A front door of its own, as that of bases."""

from stoa.knowledge.sources.api import routes
from stoa.knowledge.sources.service import Sources
from stoa.knowledge.sources.suppliers import Suppliers
from stoa.knowledge.sources.syncing import Syncing
from stoa.knowledge.sources.worker import SyncWorker, polls

__all__ = ["Sources", "Suppliers", "SyncWorker", "Syncing", "polls", "routes"]
