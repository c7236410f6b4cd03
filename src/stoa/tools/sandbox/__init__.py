"""Runs Python code of flows: one confined and limited process per call."""

from stoa.tools.sandbox.running import Code, Ended, Sandbox, SandboxError, Succeeded

__all__ = ["Code", "Ended", "Sandbox", "SandboxError", "Succeeded"]
