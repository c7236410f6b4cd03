"""An agent's card."""

from typing import Any

from stoa import __version__
from stoa.dialects.a2a.shapes import Version


def card(name: str, description: str, url: str, version: Version | None = None) -> dict[str, Any]:
    """A card that clients of both protocol versions can read; with `version`, in the format of that version alone."""
    old = {"protocolVersion": "0.3.0", "url": url, "preferredTransport": "JSONRPC", "security": [{"bearer": []}]}
    new = {
        "supportedInterfaces": [
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "0.3"},
        ],
        "securityRequirements": [{"schemes": {"bearer": {"list": []}}}],
    }
    old_scheme = {"type": "http", "scheme": "bearer"}
    new_scheme = {"httpAuthSecurityScheme": {"scheme": "bearer"}}
    return {
        "name": name,
        "description": description,
        "version": __version__,
        "capabilities": {"streaming": True, "pushNotifications": False},
        "defaultInputModes": ["text/plain", "application/json", "image/png", "image/jpeg", "application/pdf"],
        "defaultOutputModes": ["text/plain"],
        "skills": [{"id": "chat", "name": name, "description": description, "tags": ["chat"]}],
        "securitySchemes": {
            "bearer": {
                **(old_scheme if version != "1.0" else {}),
                **(new_scheme if version != "0.3" else {}),
            }
        },
        **(old if version != "1.0" else {}),
        **(new if version != "0.3" else {}),
    }
