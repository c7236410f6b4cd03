"""A company's certificate authority, and a TLS proxy with its certificate in front of a plain service."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.listening import Listener

_DAY: Final = datetime.timedelta(days=1)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """Signs a certificate for `localhost` and 127.0.0.1, on request an expired one. `bundle` is the authority's
    certificate (PEM)."""

    def __init__(self, folder: Path, *, expired: bool = False) -> None:
        key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        made = x509.CertificateBuilder().not_valid_before(now - _DAY).not_valid_after(now + _DAY)
        root = (
            made.subject_name(_name("Example Company"))
            .issuer_name(_name("Example Company"))
            .serial_number(1)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        ends = now - _DAY / 2 if expired else now + _DAY
        made = x509.CertificateBuilder().not_valid_before(now - _DAY).not_valid_after(ends)
        leaf = (
            made.subject_name(_name("localhost"))
            .issuer_name(root.subject)
            .serial_number(2)
            .public_key(server_key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        self.bundle = root.public_bytes(pem).decode()
        self.private_key = server_key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        self.chain_file, self.key_file = folder / "chain.pem", folder / "key.pem"
        self.chain_file.write_bytes(leaf.public_bytes(pem) + root.public_bytes(pem))
        self.key_file.write_text(self.private_key)
        self.bundle_file = folder / "authority.pem"
        self.bundle_file.write_text(self.bundle)

    @asynccontextmanager
    async def before(self, url: str) -> AsyncGenerator[str]:
        """The https:// URL of a proxy for the plain service at `url`."""
        port = int(url.rsplit(":", 1)[1].split("/", maxsplit=1)[0])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain_file, self.key_file)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner, outer = await asyncio.open_connection("127.0.0.1", port)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pump(reader, outer))
                    both.create_task(_pump(inner, writer))
            finally:
                for one in (writer, outer):
                    one.close()

        path = "/" + url.split("://")[1].partition("/")[2] if "/" in url.split("://")[1] else ""
        async with Listener(serve, tls=context) as listener:
            yield f"https://127.0.0.1:{listener.port}{path}"


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    sink.close()
