"""Uploads files as multipart forms."""

import mimetypes
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from stoa.cli.stream.transport import Call


def readable(name: str) -> str:
    """A file's name in UTF-8. Bytes that are not valid UTF-8 are written as `\\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def uploading(
    path: str, field: str, files: Sequence[tuple[Path, bytes]], fields: Mapping[str, str] | None = None
) -> Call:
    """A request with other fields, then the files as `field`. Its Idempotency-Key makes it take effect once."""
    boundary = uuid.uuid4().hex
    body = bytearray()
    for name, value in (fields or {}).items():
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    for file, content in files:
        name = readable(file.name).replace("\\", "_").replace('"', "%22").replace("\r", " ").replace("\n", " ")
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        disposition = f'Content-Disposition: form-data; name="{field}"; filename="{name}"'
        body += f"--{boundary}\r\n{disposition}\r\nContent-Type: {kind}\r\n\r\n".encode()
        body += content + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Idempotency-Key": boundary}
    return Call("POST", path, body=bytes(body), headers=headers)
