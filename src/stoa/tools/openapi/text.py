"""What of a document can be stored. Pure."""

from collections.abc import Mapping
from typing import Any


def storable(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def clean(value: Any) -> Any:
    """YAML's dates and numbers as keys become text; what the database cannot hold is replaced."""
    if isinstance(value, Mapping):
        return {storable(str(key)): clean(one) for key, one in value.items()}
    if isinstance(value, list):
        return [clean(one) for one in value]
    if isinstance(value, str):
        return storable(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)
