"""The server to call and its key: from the command's options, the environment, or the file that `stoa login` writes."""

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

HERE: Final = "http://localhost:8080"


class CredentialsError(Exception):
    """A URL, a key or the credentials file cannot be used. The message says why."""


@dataclass
class Credentials:
    """`current` is the server of the last login; `keys` are by URL."""

    current: str | None = None
    keys: dict[str, str] = field(default_factory=dict[str, str])


def file() -> Path:
    """`STOA_CREDENTIALS`, else a file in the user's configuration directory."""
    if named := os.environ.get("STOA_CREDENTIALS"):
        return Path(named)
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "stoa" / "credentials.json"


def load() -> Credentials:
    """Raises CredentialsError if the file cannot be read."""
    try:
        found = json.loads(file().read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return Credentials()
    except (OSError, ValueError) as error:
        raise CredentialsError(f"{file()} cannot be read ({error}). Remove it, and run: stoa login") from error
    servers: object = cast("dict[str, Any]", found).get("servers") if isinstance(found, dict) else None
    if not isinstance(servers, dict):
        raise CredentialsError(f"{file()} holds no credentials. Remove it, and run: stoa login")
    keys = {str(url): str(one["key"]) for url, one in cast("dict[str, Any]", servers).items()}
    return Credentials(cast("dict[str, Any]", found).get("current"), keys)


def save(credentials: Credentials) -> None:
    """Replaces the file atomically. Only its owner can ever read it. Raises CredentialsError."""
    servers = {url: {"key": key} for url, key in credentials.keys.items()}
    text = json.dumps({"current": credentials.current, "servers": servers}, indent=2) + "\n"
    try:
        write_private(file(), text)
    except OSError as error:
        raise CredentialsError(f"{file()} cannot be written ({error.strerror or error}).") from error


def write_private(path: Path, text: str) -> None:
    """Writes a file with mode 0600 in a directory with mode 0700, atomically: a concurrent reader gets the old or the
    new content."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp sets mode 0600.
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as target:
            target.write(text)
            target.flush()
            os.fsync(target.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def resolved(url: str | None, key: str | None) -> tuple[str, str | None]:
    """(server, key). A stored key is used only with its own server, and a stored server only with its own key: a key in
    the environment may be meant for another server. Raises CredentialsError."""
    if url is None and key:
        return HERE, checked_key(key)
    if key:
        return checked_url(url or HERE), checked_key(key)
    kept = load()
    chosen = checked_url(url or kept.current or HERE)
    return chosen, kept.keys.get(chosen)


def checked_url(url: str) -> str:
    """The URL without a trailing slash. Raises CredentialsError."""
    url = url.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable, parts = False, None
    if not usable or parts is None:
        raise CredentialsError(f"{url!r} is no URL of a server; write it as {HERE} or https://stoa.example.com")
    if parts.query or parts.fragment or parts.username:
        raise CredentialsError(f"{url!r} has more than a server's URL has: leave out name, query and fragment.")
    if not url.isascii() or any(character.isspace() for character in url):
        raise CredentialsError(f"{url!r} holds characters that no URL has.")
    return url


def checked_key(key: str) -> str:
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise CredentialsError("The key holds characters that no key has; copy it again.")
    return key
