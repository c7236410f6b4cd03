"""The results of the Python client, as JSON."""

from typing import Any, Final

from stoa_client import StoaError, TextChange

KEY: Final = "stoa_acc_" + "x" * 64
ERROR_FIELDS: Final = (
    *(
        "status",
        "code",
        "details",
        "retry_after",
        "sequence",
        "expected",
        "received",
        "active_run_id",
        "retryable",
        "reason",
    ),
    "message",
)


def nothing() -> dict[str, Any]:
    return {
        "events": [],
        "changes": [],
        "text": "",
        "verified": None,
        "error": None,
        "output": None,
        "output_error": None,
    }


def error_of(error: StoaError) -> dict[str, Any]:
    fields = {name: getattr(error, name) for name in ERROR_FIELDS if hasattr(error, name)}
    return {"kind": type(error).__name__, **fields}


def change_of(change: TextChange) -> list[str]:
    return [change.delta, change.text, change.discarded]
