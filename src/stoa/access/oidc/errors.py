"""What can be wrong with a provider. The message goes to the log; the person reads another one."""


class ProviderError(Exception):
    """It said something that is not believed, or refused."""


class ProviderAway(ProviderError):
    """It cannot be reached now."""


class UnknownKey(ProviderError):
    """None of the keys that are known has signed it: the provider may have new ones."""
