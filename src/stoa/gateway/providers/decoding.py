"""Bodies that a server or a proxy has compressed although it was asked not to. Pure."""

import zlib
from typing import Final

DECODED_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of one read: more is no text that was compressed, but an attack."""
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS


class Undecodable(ValueError):
    """The message ends a sentence."""


class Decoder:
    """Undoes the `Content-Encoding` of a body that comes in pieces: `gzip`, and `deflate` with or without the header of
    zlib."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding.strip().lower().removeprefix("x-")
        self._decompress = zlib.decompressobj(_GZIP_OR_ZLIB)

    def decoded(self, data: bytes) -> bytes:
        """Everything that can be read with these bytes. Raises Undecodable."""
        if self._encoding in ("", "identity"):
            return data
        if self._encoding not in ("gzip", "deflate"):
            raise Undecodable(f"the response is compressed as {self._encoding[:20]}, which was not asked for")
        try:
            decoded = self._decompress.decompress(data, DECODED_BYTES_MAX)
        except zlib.error as error:
            if self._encoding != "deflate":
                raise Undecodable("the response is compressed in a way that cannot be read") from error
            self._encoding, self._decompress = "gzip", zlib.decompressobj(_RAW)
            return self.decoded(data)
        if self._decompress.unconsumed_tail:
            raise Undecodable(f"one piece of the response expands to over {DECODED_BYTES_MAX} bytes")
        return decoded
