"""Links to the files of conversations."""

from stoa.kernel.clock import Clock
from stoa.kernel.links import SignedLinks


class FileLinks(SignedLinks):
    def __init__(self, secret: bytes, clock: Clock) -> None:
        super().__init__(secret, clock, b"stoa file links\n")
