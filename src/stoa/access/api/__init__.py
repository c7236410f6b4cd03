"""The routes of contract section 3."""

from stoa.access.api import keys, members, orgs, tokens

__all__ = ["keys", "members", "orgs", "tokens"]
