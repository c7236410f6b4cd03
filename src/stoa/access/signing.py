"""How people come in and leave: what the console's pages call."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from stoa.access import rules
from stoa.access.accounts import Accounts
from stoa.access.invitations import Invitations
from stoa.access.owners import FirstOwner
from stoa.access.resets import Resets
from stoa.access.types import Account, NewUser
from stoa.access.users import Users
from stoa.kernel.clock import Clock
from stoa.kernel.errors import NotFound

if TYPE_CHECKING:
    from stoa.access.oidc.flows import Flows

_NO_PROVIDER: Final = "This server has no sign-in service."
_NO_MAIL: Final = "This server sends no mail. Ask whoever runs it: stoa users password"


class SignIns:
    def __init__(
        self,
        users: Users,
        accounts: Accounts,
        invitations: Invitations,
        first_owner: FirstOwner,
        resets: Resets | None,
        flows: "Callable[[], Flows] | None",
        clock: Clock,
        *,
        provider: str | None,
    ) -> None:
        """`flows` is called at the first sign-in with the provider."""
        self.provider = provider if flows is not None else None
        """What the button says; None without a provider."""
        self.mails = resets is not None
        """Whether a forgotten password can be replaced by mail."""
        self._users = users
        self._accounts = accounts
        self._invitations = invitations
        self._first_owner = first_owner
        self._resets = resets
        self._flows = flows
        self._clock = clock

    # --- coming in --------------------------------------------------------------------------------------------------
    async def with_password(self, email: str, password: str) -> tuple[str, datetime]:
        """A session's secret and its end. Raises Unauthorized and RateLimited."""
        secret = await self._users.sign_in(email, password)
        return secret, self._clock.now() + rules.SESSION_LIFETIME

    async def as_first_owner(
        self, link: str, email: str, password: str, first_name: str, last_name: str
    ) -> tuple[str, datetime]:
        """Raises NotFound, Conflict and BadRequest."""
        made = await self._first_owner.redeem(link, NewUser(email, first_name, last_name), password)
        return made.secret, made.expires_at

    async def by_invitation(
        self, token: str, password: str | None, first_name: str, last_name: str
    ) -> tuple[str, datetime] | None:
        """None for who is a user already, is a member now, and signs in as ever. Raises NotFound and BadRequest."""
        _, made = await self._invitations.accept_in_browser(token, first_name, last_name, "UTC", password)
        return (made.secret, made.expires_at) if made is not None else None

    async def begin(self, back: str) -> tuple[str, str, str]:
        """(where the browser goes, the name and the value of what it keeps meanwhile). Raises Unavailable."""
        begun = await self._flow().begin(back)
        return begun.address, begun.name, begun.value

    async def finish(self, answer: Mapping[str, str], kept: str | None) -> tuple[str, datetime, str]:
        """A session's secret, its end, and the path where to go on. Raises Unauthorized, Forbidden and Unavailable."""
        made, back = await self._flow().finish(answer, kept)
        return made.secret, made.expires_at, back

    # --- a forgotten password ---------------------------------------------------------------------------------------
    def forgot(self, email: str) -> None:
        """The answer is the same for every address. Raises NotFound where this server sends no mail."""
        self._mailed().ask(email)

    async def reset(self, token: str, password: str) -> None:
        """Raises NotFound and BadRequest."""
        await self._mailed().redeem(token, password)

    # --- one's own account ------------------------------------------------------------------------------------------
    def is_users(self, secret: str) -> bool:
        """Whether this is the session of a user, and not of an access key."""
        return secret.startswith(rules.SESSION_PREFIX)

    async def account(self, secret: str) -> Account:
        return await self._accounts.of(secret)

    async def end(self, secret: str, session_id: UUID | None) -> None:
        await self._accounts.end(secret, session_id)

    async def change_password(self, secret: str, present: str, password: str) -> None:
        email = await self._accounts.change_password(secret, present, password)
        if self._resets is not None:
            self._resets.say_changed(email)

    async def switch(self, secret: str, org_id: UUID) -> None:
        await self._accounts.switch(secret, org_id)

    # --- leaving ----------------------------------------------------------------------------------------------------
    async def leave(self, secret: str) -> str | None:
        """Ends the session. Where the provider wants to see the browser then, its address."""
        hint = await self._users.sign_out(secret)
        return await self._flow().address_after(hint) if hint is not None and self._flows is not None else None

    def _flow(self) -> "Flows":
        if self._flows is None:
            raise NotFound(_NO_PROVIDER)
        return self._flows()

    def _mailed(self) -> Resets:
        if self._resets is None:
            raise NotFound(_NO_MAIL)
        return self._resets
