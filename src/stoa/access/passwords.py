"""Argon2id password hashes, in threads: one hash takes tens of milliseconds and 64 MiB; `HASHES_MAX` limits them."""

import asyncio
from typing import Final

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

HASHES_MAX: Final = 2
"""Concurrent hashes on a node. Each takes 64 MiB, so sign-ins cannot exhaust the machine's memory."""


class Passwords:
    def __init__(self, hasher: argon2.PasswordHasher | None = None) -> None:
        self._hasher = hasher or argon2.PasswordHasher()
        self._slots = asyncio.Semaphore(HASHES_MAX)
        self._nobody = ""

    async def hash(self, password: str) -> str:
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, hashed: str | None, password: str) -> bool:
        """Takes as long without a hash, so that the timing does not reveal which e-mail addresses are known."""
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
