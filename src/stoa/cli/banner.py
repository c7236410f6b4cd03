"""The lines that the server prints when it is ready."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from stoa.settings import Settings


class Provider(Protocol):
    """The outcome of listing a provider's models."""

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def models(self) -> int | None: ...
    @property
    def trouble(self) -> str | None: ...
    @property
    def optional(self) -> bool: ...


class Ready(Protocol):
    """What the banner needs of a server that is ready."""

    @property
    def first_key(self) -> str | None: ...
    @property
    def sign_in_link(self) -> str | None: ...
    @property
    def owner_link(self) -> str | None: ...
    @property
    def default_model(self) -> str: ...
    @property
    def providers(self) -> Sequence[Provider]: ...


def banner(settings: Settings, server: Ready, port: int, where: str) -> list[str]:
    """Where the data is, the first key on the first start, and three commands that can be pasted."""
    base = f"http://{'localhost' if settings.host in ('127.0.0.1', '0.0.0.0', '::1', '::') else settings.host}:{port}"  # noqa: S104
    lines = [
        "",
        f"Stoa is ready at {base}   (the console; documentation: {base}/docs)",
        f"Your data is in {where}",
        *_models(server),
        "",
    ]
    if server.first_key is not None and settings.bootstrap_key is None:
        lines += ["Your access key, shown only this once; keep it:", "", f"  {server.first_key}", ""]
        if server.sign_in_link is not None:
            lines += [
                "Open this once, within 15 minutes, to look around in the console with that key:",
                "",
                f"  {base}/console/sign-in#{server.sign_in_link}",
                "",
            ]
        key = server.first_key
    else:
        lines += [
            (
                "Set STOA_KEY to your access key. Lost it? Start once with STOA_BOOTSTRAP_KEY set to a new one (stoa "
                "keys generate)."
            ),
            "",
        ]
        key = "$STOA_KEY"
    if server.owner_link is not None:
        lines += [
            "Nobody owns this server yet. Open this once, within 15 minutes, to make your account, the owner's:",
            "",
            f"  {(settings.public_url or base).rstrip('/')}/console/welcome#{server.owner_link}",
            "",
        ]
    authorization = f'-H "Authorization: Bearer {key}"'
    body = '-H "Content-Type: application/json" -d'
    hello = '{"content":"Hello! What can you do?"}'
    made = '"{\\"model_id\\":\\"$MODEL\\"}"'
    first = r"""| sed 's/.*"data":[[]*{"id":"\([^"]*\)".*/\1/')"""
    return [
        *lines,
        *_command(),
        "Try it; paste these three lines:",
        "",
        f"MODEL=$(curl -s {base}/v1/router/models {authorization} {first}",
        f"CONVERSATION=$(curl -s {base}/v1/conversations {authorization} {body} {made} {first}",
        f"curl -sN {base}/v3/conversations/$CONVERSATION/messages {authorization} {body} '{hello}'",
        "",
    ]


def _command() -> list[str]:
    """The command that runs `stoa`, also if it is not on the PATH."""
    installed = Path(sys.executable).parent
    if shutil.which("stoa") is not None or not (installed / "stoa").is_file():
        return []
    return ["To call the command `stoa` in your shell:", "", f'  export PATH="{installed}:$PATH"', ""]


def _models(server: Ready) -> list[str]:
    """The models of each provider, or why there are none, so that a wrong URL or key is seen at once."""
    lines = [f"The default model is {server.default_model}"]
    for provider in server.providers:
        if provider.models is not None:
            found = f"{provider.models} model{'' if provider.models == 1 else 's'}"
        elif provider.trouble is not None:
            found = f"no models: {provider.trouble}; asked again every minute"
        elif provider.optional:
            continue  # Ollama is tried without being configured, so its absence is no error.
        else:
            found = "no answer yet; its models join when it answers"
        lines.append(f"  {provider.name} ({provider.url}): {found}")
    return lines
