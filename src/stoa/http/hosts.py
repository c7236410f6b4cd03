"""Which of the five kinds of host a request is for. The Host header alone decides (contract section 1)."""

from dataclasses import dataclass
from enum import StrEnum


class HostKind(StrEnum):
    API = "api"
    APP = "app"
    KB = "kb"
    ROUTER = "router"
    COLLECTOR = "collector"


@dataclass(frozen=True, slots=True)
class Host:
    kind: HostKind
    subject: str | None = None
    """The app's or knowledge base's id, as it stands in the name; it may be no UUID at all."""


def classify(host: str, domain: str) -> Host:
    """`<id>.apps.<domain>`, `<id>.kb.<domain>`, `router.<domain>`, `collector.<domain>`; anything else is the api."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    name = name.lower().rstrip(".")
    prefix = name.removesuffix(f".{domain.lower()}")
    if prefix == name:
        return Host(HostKind.API)
    match prefix.rsplit(".", 1):
        case [subject, "apps"] if subject:
            return Host(HostKind.APP, subject)
        case [subject, "kb"] if subject:
            return Host(HostKind.KB, subject)
        case ["router"]:
            return Host(HostKind.ROUTER)
        case ["collector"]:
            return Host(HostKind.COLLECTOR)
        case _:
            return Host(HostKind.API)
