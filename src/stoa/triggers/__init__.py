"""What starts runs of apps by itself: schedules and webhooks. Front door."""

from stoa.triggers.ports import Settle
from stoa.triggers.store import hand_over, of_keys

__all__ = ["Settle", "hand_over", "of_keys"]
