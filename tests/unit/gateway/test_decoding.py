"""Bodies that come compressed although it was not asked for, and in pieces."""

import gzip
import zlib

import pytest

from stoa.gateway.providers.decoding import DECODED_BYTES_MAX, Decoder, Undecodable

TEXT = b'data: {"choices":[]}\n\n' * 50


def raw(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(data) + made.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("x-gzip", gzip.compress(TEXT)),
        (" GZIP", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw(TEXT)),
        ("identity", TEXT),
    ],
    ids=["gzip", "x-gzip", "GZIP", "zlib", "raw deflate", "identity"],  # A gzip header holds the time.
)
@pytest.mark.parametrize("size", [3, 10_000])
def test_pieces(encoding: str, body: bytes, size: int) -> None:
    decoder = Decoder(encoding)
    assert b"".join(decoder.decoded(body[at : at + size]) for at in range(0, len(body), size)) == TEXT


def test_what_is_flushed_is_read_at_once() -> None:
    made, decoder = zlib.compressobj(wbits=16 + zlib.MAX_WBITS), Decoder("gzip")
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        assert decoder.decoded(made.compress(event) + made.flush(zlib.Z_SYNC_FLUSH)) == event


@pytest.mark.parametrize(
    ("encoding", "body", "words"),
    [
        ("br", b"x", "compressed as br"),
        ("gzip", b"no gzip at all", "cannot be read"),
        ("deflate", b"\xff" * 20, "cannot be read"),
        ("gzip", gzip.compress(b"\0" * 2 * DECODED_BYTES_MAX), "expands to over"),
    ],
    ids=["br", "no gzip", "no deflate", "a bomb"],
)
def test_what_cannot_be_read_says_why(encoding: str, body: bytes, words: str) -> None:
    with pytest.raises(Undecodable, match=words):
        Decoder(encoding).decoded(body)
