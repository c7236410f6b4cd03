"""Organizations, projects, keys and people, built."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stoa.access.api import audit, keys, members, orgs, tokens
from stoa.access.auditing import Audit
from stoa.access.invitations import Invitations
from stoa.access.keys import Keys
from stoa.access.members import Members
from stoa.access.orgs import Orgs
from stoa.access.passwords import Passwords
from stoa.access.ports import Dependents, Mail, NoDependents, NoMail
from stoa.access.service import Access
from stoa.access.tokens import Tokens
from stoa.access.users import Users
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessComponent(Component):
    users: Users
    """Signs users in and knows their sessions, for a console."""


@asynccontextmanager
async def open_component(
    kit: Kit, access: Access, dependents: Dependents | None = None, mail: Mail | None = None
) -> AsyncGenerator[AccessComponent]:
    """`access` is made before the kit, because the kit's gate asks it who a credential belongs to."""
    passwords = Passwords()
    users = Users(kit.database, kit.ids, kit.clock, passwords)
    held = Tokens(kit.database, kit.ids, kit.clock)
    organizations, people = Orgs(kit.database, kit.ids), Members(kit.database)
    invitations = Invitations(kit.database, kit.ids, kit.clock, passwords, users, held, mail or NoMail())
    audited = Audit(kit.database)
    access.dependents = dependents or NoDependents()
    routers = [
        audit.routes(audited, kit.gate),
        keys.routes(access, Keys(kit.database, access, kit.ids, kit.clock), kit.gate),
        tokens.routes(users, held, kit.gate),
        orgs.routes(access, organizations, kit.gate),
        members.routes(organizations, people, invitations, kit.gate),
    ]
    yield AccessComponent(users=users, routers={HostKind.API: routers}, background=[audited, access.uses])
