"""Credentials at rest: AES-256-GCM, each bound to its row, so that a copied ciphertext cannot be decrypted
elsewhere."""

import base64
import contextlib
import os
import secrets
from pathlib import Path
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES: Final = 12


class SecretError(ValueError):
    """A credential cannot be decrypted with this server's secret key."""


class Vault:
    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(HKDF(SHA256(), 32, salt=None, info=b"stoa connections").derive(secret))

    def seal(self, row_id: UUID, plain: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain.encode(), row_id.bytes)

    def open(self, row_id: UUID, sealed: bytes) -> str:
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], row_id.bytes).decode()
        except InvalidTag as error:
            raise SecretError("This credential was stored under another STOA_SECRET_KEY.") from error


def load_or_make(path: Path) -> bytes:
    """The installation's secret, made at first use: 256 random bits in a file that only its owner reads."""
    try:
        return base64.b64decode(path.read_bytes())
    except FileNotFoundError:
        made = path.with_suffix(f".{os.getpid()}.new")
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(32)))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # Another process created it concurrently; its secret is used.
            os.link(made, path)
        made.unlink()
        return base64.b64decode(path.read_bytes())
