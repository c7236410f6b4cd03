"""Requests whose length a proxy and this server could read differently. Pure."""


def unsafe(headers: list[tuple[bytes, bytes]], version: str) -> str | None:
    """Header fields that proxies and servers read differently, which allows request smuggling."""
    hosts = lengths = codings = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            lengths += 1
        elif name == b"transfer-encoding":
            codings += 1
            if value.lower() != b"chunked":
                return "Transfer-Encoding must be chunked, and nothing else."
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        return "A request names its host exactly once."
    if lengths + codings > 1:
        return "The length of the body is given twice."
    if codings and version == "1.0":
        return "HTTP/1.0 knows no Transfer-Encoding."
    return None
