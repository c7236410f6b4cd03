"""Passwords by Argon2id, in threads: one hash takes tens of milliseconds, and as much memory as `HASHES_MAX` bounds."""

import asyncio
from typing import Final

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

HASHES_MAX: Final = 2
"""At one moment on a node. Each takes 64 MiB, so that signing in cannot take the machine's memory."""


class Passwords:
    def __init__(self, hasher: argon2.PasswordHasher | None = None) -> None:
        self._hasher = hasher or argon2.PasswordHasher()
        self._slots = asyncio.Semaphore(HASHES_MAX)
        self._nobody = ""

    async def hash(self, password: str) -> str:
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, hashed: str | None, password: str) -> bool:
        """Takes as long without a hash, so that the time tells nobody which e-mail addresses are known."""
        if hashed is None and not self._nobody:
            self._nobody = await self.hash("nobody's")
        async with self._slots:
            matches = await asyncio.to_thread(self._matches, hashed or self._nobody, password)
        return matches and hashed is not None

    def _matches(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False
