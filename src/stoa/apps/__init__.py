"""Workflows, their released versions, and the apps that run them. Front door."""

from stoa.apps.admission import AppCaller, AppGate, PublicApps
from stoa.apps.flows import Graph, graph_of
from stoa.apps.service import Apps

__all__ = ["AppCaller", "AppGate", "Apps", "Graph", "PublicApps", "graph_of"]
