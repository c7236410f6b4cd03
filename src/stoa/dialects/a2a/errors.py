"""The numbers of JSON-RPC's and A2A's errors."""

from collections.abc import Mapping
from typing import Final

PARSE: Final = -32700
INVALID_REQUEST: Final = -32600
NO_METHOD: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL: Final = -32603
TASK_NOT_FOUND: Final = -32001
NOT_CANCELABLE: Final = -32002
NO_PUSH: Final = -32003
UNSUPPORTED: Final = -32004
CONTENT_TYPE: Final = -32005

OF_STATUS: Final[Mapping[int, int]] = {
    400: INVALID_PARAMS,
    404: INVALID_PARAMS,
    409: INVALID_REQUEST,
    413: INVALID_REQUEST,
    415: INVALID_REQUEST,
}
"""A2A's error for each HTTP status of a refusal; any other status is `INTERNAL`."""


class Refused(Exception):
    """An error of JSON-RPC."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message
