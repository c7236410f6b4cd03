"""What a file is called and what it is, as an uploader says it."""

import mimetypes
import re
import unicodedata
from typing import Final

from stoa.kernel.errors import BadRequest

FILE_NAME_CHARACTERS_MAX: Final = 255


def file_name(offered: str | None, field: str = "file") -> str:
    """The name as a name: no path, no control characters. Raises BadRequest naming `field` when nothing is left of
    it."""
    name = re.split(r"[\\/]", offered or "")[-1]
    name = "".join(
        character for character in unicodedata.normalize("NFC", name) if unicodedata.category(character)[0] != "C"
    ).strip()
    if not name or name in (".", ".."):
        raise BadRequest.field(field, "needs a file name")
    if len(name) > FILE_NAME_CHARACTERS_MAX:
        raise BadRequest.field(field, f"has a name over {FILE_NAME_CHARACTERS_MAX} characters")
    return name


def mime_type(name: str, offered: str | None) -> str:
    """What the client says, unless it says nothing in particular; then what the name's ending says."""
    offered = (offered or "").split(";")[0].strip().lower()
    if (
        re.fullmatch(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}", offered)
        and offered != "application/octet-stream"
    ):
        return offered
    return mimetypes.guess_type(name, strict=False)[0] or "application/octet-stream"
