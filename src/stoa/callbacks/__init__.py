"""Callbacks: a signed POST to each URL that a run names, sent after the run has ended. The public interface."""

from stoa.callbacks.service import Callbacks
from stoa.callbacks.types import Callback, NewCallback, Report
from stoa.callbacks.wire import CALLBACKS_MAX, CallbackBody, CallbackWire, callback, new_callbacks

__all__ = [
    "CALLBACKS_MAX",
    "Callback",
    "CallbackBody",
    "CallbackWire",
    "Callbacks",
    "NewCallback",
    "Report",
    "callback",
    "new_callbacks",
]
