"""Artifacts: published documents with versions and public links. The public interface."""

from stoa.artifacts.rules import TEXT_KINDS
from stoa.artifacts.service import Artifacts
from stoa.artifacts.types import Artifact, ArtifactFilter, Kind, NewArtifact, NewVersion, Origin, Version

__all__ = [
    "TEXT_KINDS",
    "Artifact",
    "ArtifactFilter",
    "Artifacts",
    "Kind",
    "NewArtifact",
    "NewVersion",
    "Origin",
    "Version",
]
