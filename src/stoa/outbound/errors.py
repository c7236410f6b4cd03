"""Why a call could not leave this node. Clients wrap these errors in their own; `cause` finds them again.

OSError
└─ OutboundError       the text is a sentence for the caller
   ├─ AddressRefused   the host leads to an address that the operator has not allowed
   ├─ Crowded          only reserved file descriptors are left
   ├─ ProxyFailed      the operator's proxy refused the call or cannot be reached
   └─ Untrusted        no trusted authority has signed the host's certificate
"""

from ssl import SSLCertVerificationError

PRIVATE = "private address, which this server's operator has not allowed (STOA_ALLOW_PRIVATE_ADDRESSES)"


class OutboundError(OSError):
    """The call could not leave this node; the text is a sentence."""


class AddressRefused(OutboundError):
    """The host leads to an address that the operator has not allowed."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} leads to a {PRIVATE}.")


class Crowded(OutboundError):
    """Only reserved file descriptors are left."""

    def __init__(self) -> None:
        super().__init__(
            "This server has as many connections open as its limit of file descriptors allows (ulimit -n);"
            " try again in a moment."
        )


class ProxyFailed(OutboundError):
    """The proxy refused the call or cannot be reached."""


class Untrusted(OutboundError):
    """The host's certificate cannot be trusted."""

    def __init__(self, host: str, error: SSLCertVerificationError) -> None:
        super().__init__(
            f"The certificate of {host} cannot be trusted ({error.verify_message}). If a company's own authority "
            "signed it, give that authority as ca_bundle, or to the whole server (SSL_CERT_FILE)."
        )


def cause(error: BaseException) -> OutboundError | None:
    """The OutboundError behind a client's failure, if there is one."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, OutboundError):
            return one
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            waiting += [one.__cause__, one.__context__, getattr(one, "os_error", None)]
    return None


def refused(error: BaseException) -> bool:
    """Whether a client failed because the address is not allowed."""
    return isinstance(cause(error), AddressRefused)
