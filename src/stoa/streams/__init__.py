"""The read side: follows a journal as Server-Sent Events or pages. The public interface."""

from stoa.streams.api import routes
from stoa.streams.service import Follower, Streams
from stoa.streams.tickets import Tickets

__all__ = ["Follower", "Streams", "Tickets", "routes"]
