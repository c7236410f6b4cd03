"""Reads fields of dialects' requests and checks their types. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from stoa.kernel.errors import BadRequest


def objects(value: Any, field: str) -> Sequence[Mapping[str, Any]]:
    """A list of objects; empty where the field is missing. Raises BadRequest naming the field for anything else."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise BadRequest.field(field, "must be a list of objects")
    return value
