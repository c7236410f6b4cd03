"""The outbound HTTP client of this node, built from its settings."""

from stoa.app.choices import plain
from stoa.outbound import Outbound, Proxies, ProxySettingError
from stoa.settings import Settings, SettingsError


def outbound_of(settings: Settings) -> Outbound:
    """Raises SettingsError if a proxy or a certificate authority cannot be used."""
    try:
        proxies = Proxies.of(plain(settings.https_proxy), plain(settings.http_proxy), settings.no_proxy)
    except ProxySettingError as error:
        raise SettingsError(f"https_proxy or http_proxy (HTTPS_PROXY, HTTP_PROXY): {error}") from error
    ca_file = str(settings.ca_file) if settings.ca_file is not None else None
    made = Outbound(
        allow_private=settings.allow_private_addresses,
        proxies=proxies,
        proxy_resolves=settings.proxy_resolves,
        ca_file=ca_file,
    )
    try:
        made.tls()
    except OSError as error:
        raise SettingsError(f"ca_file (SSL_CERT_FILE): {ca_file} holds no certificates: {error}") from error
    return made
