"""Sources of knowledge bases: websites, directories, buckets and repositories, which syncs keep up to date.

A public interface of its own, like that of bases.
"""

from stoa.sources.api import routes
from stoa.sources.factory import SourceFactory
from stoa.sources.service import Sources
from stoa.sources.syncing import Syncing
from stoa.sources.types import NewDocument
from stoa.sources.worker import SyncWorker, polls

__all__ = ["NewDocument", "SourceFactory", "Sources", "SyncWorker", "Syncing", "polls", "routes"]
