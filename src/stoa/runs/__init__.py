"""The write side: takes a run from `created` to its one terminal event. Front door."""

from stoa.runs.agent.knowledge import KnowledgeTool, Library, Quote, bases_of
from stoa.runs.api import routes
from stoa.runs.checks import checks, timeline
from stoa.runs.context import Context
from stoa.runs.driving import Supply
from stoa.runs.host import Reading
from stoa.runs.metrics import RunMetrics, polls
from stoa.runs.recording import Recorder
from stoa.runs.revocation import Credential, Living
from stoa.runs.service import Runs
from stoa.runs.types import Run
from stoa.runs.wire import SendMessageBody
from stoa.runs.worker import Worker

__all__ = [
    "Context",
    "Credential",
    "KnowledgeTool",
    "Library",
    "Living",
    "Quote",
    "Reading",
    "Recorder",
    "Run",
    "RunMetrics",
    "Runs",
    "SendMessageBody",
    "Supply",
    "Worker",
    "bases_of",
    "checks",
    "polls",
    "routes",
    "timeline",
]
