"""Where Python code of flows runs: a process of its own for each call, confined, bounded and killed."""

from stoa.tools.sandbox.running import Code, Ended, Sandbox, SandboxError, Succeeded

__all__ = ["Code", "Ended", "Sandbox", "SandboxError", "Succeeded"]
