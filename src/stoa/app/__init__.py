"""The composition root: builds every slice, connects them, and mounts what they serve. Front door."""

from stoa.app.server import Server, Toolbox, open_doctor, open_server

__all__ = ["Server", "Toolbox", "open_doctor", "open_server"]
