"""The origin of a URL, which a secret is bound to. Pure."""

from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


def origin_of(url: str | None) -> str | None:
    """Scheme, host and port in one spelling (`https://api.example.com:443`); None where the URL names no host."""
    if not url:
        return None
    try:
        parts = urlsplit(url.strip())
        scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".")
        port = parts.port or _PORTS.get(scheme, 0)
        host = host if host.isascii() else host.encode("idna").decode("ascii")
    except (ValueError, UnicodeError):
        return url  # Invalid URLs are origins of their own.
    return f"{scheme}://{host.lower()}:{port}" if host else None
