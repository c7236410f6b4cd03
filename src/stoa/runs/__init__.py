"""The write side: takes a run from `created` to its one terminal event. The public interface."""

from stoa.runs.agent.items import content_of
from stoa.runs.agent.knowledge import KnowledgeTool, Library, Quote, bases_of
from stoa.runs.agent.notes import NotesTool
from stoa.runs.agent.ports import Supply
from stoa.runs.agent.publishing import ArtifactTool
from stoa.runs.agent.remembering import MemoryUse, memory_use
from stoa.runs.agent.resources import AgentResources, SkillUse
from stoa.runs.agent.skilled import SkillsTool
from stoa.runs.api import routes
from stoa.runs.app_wire import app_message, report
from stoa.runs.checks import checks, timeline
from stoa.runs.context import Context
from stoa.runs.host import Reading
from stoa.runs.metrics import RunMetrics, polls
from stoa.runs.ports import CheckRequirements
from stoa.runs.recording import Recorder
from stoa.runs.revocation import Credential, Living
from stoa.runs.service import Runs
from stoa.runs.types import (
    DialectFilter,
    GraphStart,
    Input,
    Moved,
    Publication,
    RequestType,
    Run,
    RunStatus,
    SendMessage,
    Trial,
)
from stoa.runs.wire import SendMessageBody
from stoa.runs.worker import Worker
from stoa.runs.workflow.advice import advice
from stoa.runs.workflow.code import code_problems
from stoa.runs.workflow.graph import read as read_graph
from stoa.runs.workflow.pipelines import pipeline_problems
from stoa.runs.workflow.ports import NewDocument
from stoa.runs.workflow.registry import NODE_TYPES

__all__ = [
    "NODE_TYPES",
    "AgentResources",
    "ArtifactTool",
    "CheckRequirements",
    "Context",
    "Credential",
    "DialectFilter",
    "GraphStart",
    "Input",
    "KnowledgeTool",
    "Library",
    "Living",
    "MemoryUse",
    "Moved",
    "NewDocument",
    "NotesTool",
    "Publication",
    "Quote",
    "Reading",
    "Recorder",
    "RequestType",
    "Run",
    "RunMetrics",
    "RunStatus",
    "Runs",
    "SendMessage",
    "SendMessageBody",
    "SkillUse",
    "SkillsTool",
    "Supply",
    "Trial",
    "Worker",
    "advice",
    "app_message",
    "bases_of",
    "checks",
    "code_problems",
    "content_of",
    "memory_use",
    "pipeline_problems",
    "polls",
    "read_graph",
    "report",
    "routes",
    "timeline",
]
