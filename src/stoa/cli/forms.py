"""Files in a multipart form, as browsers send them."""

import mimetypes
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from stoa.cli.stream.transport import Call


def readable(name: str) -> str:
    """The name of a file in UTF-8. A file system may hold bytes that are no characters: `\\xff` stands for one."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def uploading(
    path: str, field: str, files: Sequence[tuple[Path, bytes]], fields: Mapping[str, str] | None = None
) -> Call:
    """A request that uploads files and their contents as `field`, behind other fields; it takes effect once."""
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
