"""Schedules and webhooks that start runs of apps. The public interface."""

from stoa.triggers.ports import Settle
from stoa.triggers.store import hand_over, of_keys

__all__ = ["Settle", "hand_over", "of_keys"]
