"""URLs as addresses of pages: one spelling each, so that a page is fetched once. Pure."""

from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote

from yarl import URL

URL_CHARACTERS_MAX: Final = 1_900
_SUFFIXES: Final = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "application/pdf": ".pdf",
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "application/json": ".json",
    "application/xml": ".xml",
    "text/xml": ".xml",
    "application/rtf": ".rtf",
    "application/epub+zip": ".epub",
}


def canonical(text: str, base: URL | None = None) -> URL | None:
    """The address that a link means, without its fragment; None for what is no page's (mailto:, javascript:,
    nonsense)."""
    try:
        found = URL(text.strip())
        found = (base.join(found) if base is not None else found).with_fragment(None)
        if (
            found.scheme not in ("http", "https")
            or not found.host
            or found.user is not None
            or found.password is not None
        ):
            return None
        found = found.with_host(found.host.lower().rstrip("."))
        if found.explicit_port is not None and found.is_default_port():
            found = found.with_port(None)
        found = found.with_path("/", keep_query=True) if found.raw_path in ("", "/") else found
        return found if len(str(found)) <= URL_CHARACTERS_MAX else None
    except (ValueError, TypeError):
        return None


def host_of(url: URL) -> str:
    """As `hosts` names it: with the port where it is not the scheme's own."""
    return f"{url.host}:{url.explicit_port}" if url.explicit_port is not None else str(url.host)


def page_name(url: URL, mime_type: str) -> str:
    """A file's name for a page: the end of its path, with the suffix of what it is."""
    last = unquote(url.raw_path.rstrip("/").rsplit("/", 1)[-1]) or "index"
    suffix = _SUFFIXES.get(mime_type)
    if suffix is None or PurePosixPath(last.lower()).suffix in (suffix, ".htm" if suffix == ".html" else suffix):
        return last
    return f"{last}{suffix}"
