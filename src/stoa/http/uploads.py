"""Uploads come as multipart/form-data and as nothing else."""

from starlette.requests import Request

from stoa.kernel.errors import UnsupportedMediaType


async def multipart_only(request: Request) -> None:
    """A route's dependency: 415 for anything that is not multipart."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise UnsupportedMediaType("Send the file as multipart/form-data, in a field named file.")
