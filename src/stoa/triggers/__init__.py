"""What starts runs of apps by itself: schedules and webhooks. Front door."""

from stoa.triggers.ports import Settle

__all__ = ["Settle"]
