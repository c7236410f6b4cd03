"""Organizations, projects, keys and people, built."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from stoa.access.accounts import Accounts
from stoa.access.api import audit, keys, members, orgs, tokens
from stoa.access.auditing import Audit
from stoa.access.identities import Identities
from stoa.access.invitations import Invitations
from stoa.access.keys import Keys
from stoa.access.mailing import MailServer, SmtpMail
from stoa.access.members import Members
from stoa.access.orgs import Orgs
from stoa.access.owners import FirstOwner
from stoa.access.passwords import Passwords
from stoa.access.ports import Dependents, NoDependents, NoMail
from stoa.access.resets import Resets
from stoa.access.service import Access
from stoa.access.signing import SignIns
from stoa.access.tokens import Tokens
from stoa.access.types import SignUpPolicy
from stoa.access.users import Users
from stoa.http.component import Component, Kit, Started
from stoa.http.hosts import HostKind
from stoa.outbound import Outbound

if TYPE_CHECKING:
    from stoa.access.oidc.asking import Asking
    from stoa.access.oidc.flows import Flows


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """The operator's OpenID Connect provider."""

    issuer: str
    client_id: str
    client_secret: str | None
    name: str
    """What the button says."""
    scopes: Sequence[str]
    trust_email: bool
    newcomers: SignUpPolicy


@dataclass(frozen=True, slots=True)
class ExternalServices:
    """Sign-in provider, mail server and public address. The first two need the public address."""

    public_url: str | None = None
    provider: ProviderSettings | None = None
    mail_server: MailServer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessComponent(Component):
    users: Users
    sign_ins: SignIns
    """The services of the console's pages."""
    first_owner: FirstOwner


@asynccontextmanager
async def open_component(
    kit: Kit, access: Access, outbound: Outbound, external: ExternalServices, dependents: Dependents | None = None
) -> AsyncGenerator[AccessComponent]:
    """`access` is built before the kit, because the kit's gate authenticates with it."""
    public_url, provider, mail_server = external.public_url, external.provider, external.mail_server
    passwords = Passwords()
    users = Users(kit.database, kit.ids, kit.clock, passwords)
    held = Tokens(kit.database, kit.ids, kit.clock)
    organizations, people = Orgs(kit.database, kit.ids), Members(kit.database)
    mail = SmtpMail(mail_server) if mail_server is not None else NoMail()
    invitations = Invitations(kit.database, kit.ids, kit.clock, passwords, users, held, mail, public_url)
    accounts = Accounts(kit.database, kit.ids, kit.clock, passwords)
    first_owner = FirstOwner(kit.database, kit.ids, kit.clock, passwords, users)
    resets = None
    if mail_server is not None and public_url is not None:
        resets = Resets(kit.database, kit.clock, passwords, mail, public_url)
    opened: list[Asking] = []
    flows = None
    if provider is not None and public_url is not None:
        flows = _flows(kit, users, provider, public_url, outbound, opened)
    sign_ins = SignIns(
        users, accounts, invitations, first_owner, resets, flows, kit.clock, provider=provider and provider.name
    )
    audited = Audit(kit.database)
    access.dependents = dependents or NoDependents()
    routers = [
        audit.routes(audited, kit.gate),
        keys.routes(access, Keys(kit.database, access, kit.ids, kit.clock), kit.gate),
        tokens.routes(users, held, kit.gate),
        orgs.routes(access, organizations, kit.gate),
        members.routes(organizations, people, invitations, kit.gate),
    ]

    async def close() -> None:
        for asking in opened:
            await asking.close()

    yield AccessComponent(
        users=users,
        sign_ins=sign_ins,
        first_owner=first_owner,
        routers={HostKind.API: routers},
        background=[audited, access.uses, *([resets] if resets is not None else []), Started(stop=close)],
    )


def _flows(
    kit: Kit, users: Users, settings: ProviderSettings, public_url: str, outbound: Outbound, opened: "list[Asking]"
) -> "Callable[[], Flows]":
    """Built at the first call, so that a start does not import the libraries."""
    base = public_url.rstrip("/")

    @cache
    def flows() -> "Flows":
        from stoa.access.oidc.asking import Asking  # noqa: PLC0415
        from stoa.access.oidc.flows import Flows  # noqa: PLC0415
        from stoa.access.oidc.provider import Provider, Registration  # noqa: PLC0415
        from stoa.access.oidc.sealed import Sealed  # noqa: PLC0415

        registration = Registration(
            settings.issuer,
            settings.client_id,
            settings.client_secret,
            f"{base}/console/sign-in/oidc/callback",
            f"{base}/console/sign-in",
            settings.scopes,
            trust_email=settings.trust_email,
        )
        asking = Asking(outbound.trusted())
        opened.append(asking)
        identities = Identities(kit.database, kit.ids, kit.clock, users, settings.newcomers)
        return Flows(Provider(registration, asking, kit.clock), identities, Sealed(kit.secret), kit.clock)

    return flows
