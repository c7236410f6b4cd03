"""Every failure of a call is a sentence with the address, and none names a class of Python."""

import socket
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from stoa.outbound import ProxyFailed
from stoa.outbound.describing import failure

KEY = ConnectionKey("example.com", 443, True, True, None, None, None)


def tls() -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    error.reason = "WRONG_VERSION_NUMBER"
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (socket.gaierror(-2, "x"), "The host example.com cannot be resolved."),
        (
            aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(111, "x")),
            "example.com:8443 cannot be reached: it refused the connection; does something listen there?",
        ),
        (
            aiohttp.ClientConnectorSSLError(KEY, tls()),
            "example.com:8443 cannot be reached over TLS: wrong version number (is it a server without TLS?).",
        ),
        (aiohttp.ServerDisconnectedError(), "example.com:8443 closed the connection before it had answered."),
        (aiohttp.ClientPayloadError("x"), "example.com:8443 closed the connection in the middle of its answer."),
        (TimeoutError(), "example.com:8443 cannot be reached: it did not answer in time."),
        (OSError(113, "x"), "example.com:8443 cannot be reached: no route to host."),
        (ValueError(), "example.com:8443 cannot be reached: the call failed."),
        (ProxyFailed("The proxy is away."), "The proxy is away."),
    ],
)
def test_a_failure_in_words(error: Exception, said: str) -> None:
    assert failure(error, "https://example.com:8443/path?key=secret") == said


def test_the_cause_says_more_than_what_wraps_it() -> None:
    outer = aiohttp.ClientError("something")
    outer.__cause__ = ConnectionResetError(104, "x")
    assert failure(outer, "http://example.com/x") == "example.com:80 closed the connection before it had answered."
