"""Workflows, their released versions, and the apps that run them. Front door."""

from stoa.apps.admission import AppCaller, AppGate, PublicApps
from stoa.apps.entities import Entities, Entity
from stoa.apps.service import Apps

__all__ = ["AppCaller", "AppGate", "Apps", "Entities", "Entity", "PublicApps"]
