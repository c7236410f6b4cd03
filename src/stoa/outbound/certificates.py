"""Certificate authorities that a tenant names for one endpoint (`ca_bundle`). Pure."""

import re
import ssl
from typing import Annotated, Final

from pydantic import AfterValidator, Field

CA_BUNDLE_CHARACTERS_MAX: Final = 64 * 1024
"""About forty certificates; a company's bundle has one to five."""


def checked_bundle(pem: str) -> str:
    """The unchanged bundle. Raises ValueError if it is no list of certificates; the sentence continues after the
    field's name."""
    if re.search(r"-----BEGIN [A-Z ]*PRIVATE KEY-----", pem):
        raise ValueError("holds a private key; send the certificates of authorities alone")
    if "-----BEGIN CERTIFICATE-----" not in pem:
        raise ValueError("holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError("holds a certificate that cannot be read") from error
    return pem


CaBundle = Annotated[str, Field(max_length=CA_BUNDLE_CHARACTERS_MAX), AfterValidator(checked_bundle)]
"""Additional trusted certificates (PEM) for one endpoint."""
