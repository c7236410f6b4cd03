"""Errors of a provider. The message is logged; the user reads another one."""


class ProviderError(Exception):
    """Its response is invalid, or it refused."""


class ProviderAway(ProviderError):
    """It cannot be reached."""


class UnknownKey(ProviderError):
    """No known key has signed it: the provider may have new keys."""
