"""Builds the slice: skills, and the port through which agents read them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stoa.db.receipts import Receipts
from stoa.http.component import Component, Kit
from stoa.http.hosts import HostKind
from stoa.skills.api import routes
from stoa.skills.exported import EXPORTED
from stoa.skills.ports import Projects
from stoa.skills.service import KINDS, Skills
from stoa.skills.worker import Housekeeping


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillsComponent(Component):
    skills: Skills


@asynccontextmanager
async def open_component(kit: Kit, projects: Projects) -> AsyncGenerator[SkillsComponent]:
    receipts = Receipts(kit.database, kit.ids, KINDS)
    skills = Skills(kit.database, projects, receipts, kit.ids)
    yield SkillsComponent(
        skills=skills,
        exported=EXPORTED,
        routers={HostKind.API: [routes(skills, kit.gate)]},
        background=[Housekeeping(receipts)],
    )
