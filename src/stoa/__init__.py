"""Stoa: a self-hosted server for conversations with AI agents that never loses a token."""

__version__ = "0.1.0"
