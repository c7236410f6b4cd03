"""Normalizes URLs of pages to one spelling each, so that a page is fetched once. Pure."""

import re
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote

from yarl import URL

_TRACKING: Final = re.compile(
    r"(?:utm_\w+|gclid|gclsrc|dclid|gbraid|wbraid|fbclid|msclkid|yclid|twclid|ttclid|igshid|li_fat_id|mc_cid|mc_eid"
    r"|_ga|_gl|_hsenc|_hsmi|mkt_tok|oly_anon_id|oly_enc_id|vero_id|wickedid|PHPSESSID|jsessionid)(?:=|$)",
    re.IGNORECASE,
)
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
    """The address that a link points to, without its fragment; None for anything that is not a page (mailto:,
    javascript:, invalid)."""
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
        found = _without_tracking(found)
        return found if len(str(found)) <= URL_CHARACTERS_MAX else None
    except (ValueError, TypeError):
        return None


def _without_tracking(url: URL) -> URL:
    """Removes parameters that only track where a visitor came from: the page is the same."""
    parts = url.raw_query_string.split("&")
    kept = [part for part in parts if not _TRACKING.match(part)]
    if len(kept) == len(parts):
        return url
    bare = url.with_query(None)
    return URL(f"{bare}?{'&'.join(kept)}", encoded=True) if kept else bare


def same_page(url: URL) -> URL:
    """One key for addresses that differ only in a trailing slash."""
    path = url.raw_path.rstrip("/")
    return url.with_path(path, encoded=True, keep_query=True) if path and path != url.raw_path else url


def host_of(url: URL) -> str:
    """A host in the form of `hosts`: with the port where it is not the scheme's default."""
    return f"{url.host}:{url.explicit_port}" if url.explicit_port is not None else str(url.host)


def page_name(url: URL, mime_type: str) -> str:
    """A file name for a page: the end of its path, with the suffix of its type."""
    last = unquote(url.raw_path.rstrip("/").rsplit("/", 1)[-1]) or "index"
    suffix = _SUFFIXES.get(mime_type)
    if suffix is None or PurePosixPath(last.lower()).suffix in (suffix, ".htm" if suffix == ".html" else suffix):
        return last
    return f"{last}{suffix}"
