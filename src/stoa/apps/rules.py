"""Pure decisions about workflows and apps: names, limits, what lists may be sorted by."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from stoa.kernel.errors import BadRequest

WORKFLOW_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,126}[a-z0-9])?")
APP_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ./_'-]{0,127}")
DESCRIPTION_CHARACTERS_MAX: Final = 512
WORKFLOWS_SORTABLE: Final = {"name": "name", "created_at": "created_at", "updated_at": "updated_at"}
APPS_SORTABLE: Final = {"name": "name", "created_at": "created_at", "updated_at": "updated_at"}
_SPACE: Final = re.compile(r"[ \t\n\r]*")


def workflow_name(name: str) -> str:
    if not WORKFLOW_NAME.fullmatch(name):
        raise ValueError("must be 1 to 128 lower-case letters, digits and hyphens")
    return name


def app_name(name: str) -> str:
    if not APP_NAME.fullmatch(name):
        raise ValueError("must be 1 to 128 letters, digits, spaces and . / _ ' -, and begin with a letter or digit")
    return name


def verbatim(body: bytes, *names: str) -> Mapping[str, str]:
    """The JSON texts of these fields of an object, as they were sent. The body has been parsed before."""
    text = body.decode("utf-8")
    decoder = json.JSONDecoder(parse_int=str)  # A number of any length; the value is not used.
    at = _after(text, text.index("{") + 1)
    found: dict[str, str] = {}
    while text[at] != "}":
        name, at = decoder.raw_decode(text, at)
        begin = _after(text, _after(text, at) + 1)
        _, at = decoder.raw_decode(text, begin)
        if name in names:
            found[name] = text[begin:at]
        at = _after(text, at)
        if text[at] == ",":
            at = _after(text, at + 1)
    return found


def _after(text: str, at: int) -> int:
    """Where the white space that may stand at `at` ends."""
    space = _SPACE.match(text, at)
    assert space is not None, "no white space is white space too"
    return space.end()


def app_archived(app_id: Any) -> BadRequest:
    return BadRequest(f"The app {app_id} is archived; POST /v1/apps/{app_id}/restore brings it back.")
