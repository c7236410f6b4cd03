"""How a repository's files are sealed: with a checksum, and encrypted where a secret was given.

Encrypted: argon2id derives a key from the passphrase or the content of a key file, which wraps the repository's random
master key. Every piece has an AES-256-GCM key of its own, derived from the master key and the piece's name, and a
random nonce. Names are HMAC-SHA256 of the content under another key, so that without the key nobody can test whether a
known file is in the backup.
"""

import base64
import hashlib
import hmac
import json
import os
import zlib
from collections.abc import Mapping
from typing import Any, Final, Protocol

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stoa.db.backup.types import BackupError, WrongSecret

SECRET_BYTES_MIN: Final = 8
"""The shortest passphrase or key file."""
LEVEL: Final = 1
"""zlib's fastest level. It compresses COPY's text to a third or a fifth."""
_ARGON2: Final = {"time_cost": 3, "memory_cost": 64 * 1024, "parallelism": 4}
_MEMORY_COST_MAX: Final = 1024 * 1024
_TIME_COST_MAX: Final = 100
"""The largest argon2 costs accepted from a file, so that a forged one cannot exhaust this machine."""
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_WRAPPED: Final = b"stoa backup: master key"


class Unsealable(Exception):
    """A file is not what was written; the message says what is wrong."""


class Sealer(Protocol):
    def name(self, content: bytes) -> str:
        """64 hexadecimal digits that identify a piece by its content."""
        ...

    def seal(self, name: str, content: bytes) -> bytes: ...

    def open(self, name: str, sealed: bytes) -> bytes:
        """Raises Unsealable."""
        ...


class Checksummed:
    """Unencrypted files: compressed, followed by the SHA-256 of the compressed bytes. A piece's name is the SHA-256 of
    its content."""

    def name(self, content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()

    def seal(self, name: str, content: bytes) -> bytes:  # noqa: ARG002 — the port's
        whole = packed(content)
        return whole + hashlib.sha256(whole).digest()

    def open(self, name: str, sealed: bytes) -> bytes:  # noqa: ARG002 — the port's
        whole, digest = sealed[:-_KEY_BYTES], sealed[-_KEY_BYTES:]
        if hashlib.sha256(whole).digest() != digest:
            raise Unsealable("its checksum is wrong: it was changed or cut")
        return unpacked(whole)


class Encrypted:
    """Files encrypted under a master key."""

    def __init__(self, master: bytes) -> None:
        self._naming = hmac.digest(master, b"names", "sha256")
        self._keys = hmac.digest(master, b"keys", "sha256")

    def name(self, content: bytes) -> str:
        return hmac.digest(self._naming, content, "sha256").hex()

    def seal(self, name: str, content: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher(name).encrypt(nonce, packed(content), name.encode())

    def open(self, name: str, sealed: bytes) -> bytes:
        nonce, encrypted = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return unpacked(self._cipher(name).decrypt(nonce, encrypted, name.encode()))
        except (InvalidTag, ValueError):
            raise Unsealable("it does not decrypt: it was changed or cut") from None

    def _cipher(self, name: str) -> AESGCM:
        return AESGCM(hmac.digest(self._keys, name.encode(), "sha256"))


def packed(content: bytes) -> bytes:
    """Compressed where that helps; the first byte says whether."""
    smaller = zlib.compress(content, LEVEL)
    return b"z" + smaller if len(smaller) < len(content) else b"r" + content


def unpacked(packed_content: bytes) -> bytes:
    if packed_content[:1] == b"r":
        return packed_content[1:]
    if packed_content[:1] != b"z":
        raise Unsealable("it is empty" if not packed_content else "it does not begin as such a file does")
    try:
        return zlib.decompress(packed_content[1:])
    except zlib.error:
        raise Unsealable("it does not unpack: it was changed or cut") from None


def new_key(secret: bytes) -> tuple[Mapping[str, Any], Sealer]:
    """A new master key, wrapped for `repository.json`. Raises BackupError for a secret that is too short."""
    if len(secret) < SECRET_BYTES_MIN:
        raise BackupError(f"A passphrase or key has at least {SECRET_BYTES_MIN} bytes.")
    master, salt, nonce = os.urandom(_KEY_BYTES), os.urandom(16), os.urandom(_NONCE_BYTES)
    wrapped = AESGCM(_derived(secret, salt, _ARGON2)).encrypt(nonce, master, _WRAPPED)
    written = {
        "cipher": "aes-256-gcm",
        "kdf": {"name": "argon2id", **_ARGON2, "salt": base64.b64encode(salt).decode()},
        "master_key": base64.b64encode(nonce + wrapped).decode(),
    }
    return written, Encrypted(master)


def opened_key(written: Mapping[str, Any], secret: bytes | None) -> Sealer:
    """Raises WrongSecret."""
    if secret is None:
        raise WrongSecret("This backup is encrypted: set STOA_BACKUP_PASSPHRASE, or name the key file with --key-file.")
    kdf = {name: int(written["kdf"][name]) for name in _ARGON2}
    if kdf["memory_cost"] > _MEMORY_COST_MAX or kdf["time_cost"] > _TIME_COST_MAX:
        raise ValueError("costs that no Stoa has written")
    wrapped = base64.b64decode(written["master_key"])
    derived = _derived(secret, base64.b64decode(written["kdf"]["salt"]), kdf)
    try:
        return Encrypted(AESGCM(derived).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _WRAPPED))
    except InvalidTag:
        raise WrongSecret("The passphrase or key file is not the one that this backup was encrypted with.") from None


def _derived(secret: bytes, salt: bytes, costs: Mapping[str, int]) -> bytes:
    return hash_secret_raw(
        secret,
        salt,
        time_cost=costs["time_cost"],
        memory_cost=costs["memory_cost"],
        parallelism=costs["parallelism"],
        hash_len=_KEY_BYTES,
        type=Type.ID,
    )


def as_json(found: bytes, what: str) -> Any:
    try:
        return json.loads(found)
    except ValueError:
        raise BackupError(f"{what} cannot be read: it is no JSON any more.") from None
