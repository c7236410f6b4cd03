"""Workflows, their released versions, and the apps that run them. The public interface."""

from stoa.apps.admission import AppCaller, AppGate, PublicApps
from stoa.apps.entities import Entities, Entity
from stoa.apps.released import Released
from stoa.apps.service import Apps
from stoa.apps.types import NodeKind, NodeNeeds, Reading, Runnable
from stoa.apps.workflows import Workflows

__all__ = [
    "AppCaller",
    "AppGate",
    "Apps",
    "Entities",
    "Entity",
    "NodeKind",
    "NodeNeeds",
    "PublicApps",
    "Reading",
    "Released",
    "Runnable",
    "Workflows",
]
