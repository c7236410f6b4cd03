"""The composition root: builds every slice, connects them, and mounts what they serve. The public interface."""

from stoa.app.adapters import Toolbox
from stoa.app.server import Server, open_doctor, open_server

__all__ = ["Server", "Toolbox", "open_doctor", "open_server"]
