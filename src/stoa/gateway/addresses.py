"""Which addresses a tenant's connection may name: public ones, unless the operator allows private ones too."""

from urllib.parse import urlsplit

from stoa.gateway.offers import ProviderError
from stoa.outbound import AddressRefused, Outbound, OutboundError


async def check_address(base_url: str, outbound: Outbound) -> None:
    """An early check; the connector checks again at every call.

    Raises ProviderError for an invalid http(s) URL, an unresolvable host, or a private address.
    """
    try:
        parts = urlsplit(base_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise ProviderError("it is not a URL") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ProviderError("it must be an http:// or https:// URL")
    if parts.username or parts.password:
        raise ProviderError("it must not hold a user name or password; send the credential as api_key")
    if outbound.allow_private:
        return
    try:
        await outbound.check(parts.hostname, port, tls=parts.scheme == "https")
    except AddressRefused as error:
        raise ProviderError(
            "it leads to a private address, which this server's operator has not allowed (STOA_ALLOW_PRIVATE_ADDRESSES)"
        ) from error
    except OutboundError as error:
        raise ProviderError(str(error)) from error
    except OSError as error:
        raise ProviderError(f"the host {parts.hostname} cannot be resolved") from error
