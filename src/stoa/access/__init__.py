"""Organizations, projects, keys, people. The public interface."""

from stoa.access.acting import Acting
from stoa.access.explaining import Explaining
from stoa.access.mailing import MailServer
from stoa.access.orgs import Orgs
from stoa.access.owners import FirstOwner
from stoa.access.passwords import Passwords
from stoa.access.rules import PERMISSIONS
from stoa.access.service import Access, BootstrapError
from stoa.access.sessions import Sessions
from stoa.access.tokens import Tokens
from stoa.access.types import Dependent, NewUser, OrgRole, SignUpPolicy
from stoa.access.users import Users

__all__ = [
    "PERMISSIONS",
    "Access",
    "Acting",
    "BootstrapError",
    "Dependent",
    "Explaining",
    "FirstOwner",
    "MailServer",
    "NewUser",
    "OrgRole",
    "Orgs",
    "Passwords",
    "Sessions",
    "SignUpPolicy",
    "Tokens",
    "Users",
]
