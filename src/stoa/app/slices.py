"""Opens every slice's component, in the order of their dependencies."""

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from stoa import access, apps, conversations, gateway, runs
from stoa.access import component as access_component
from stoa.app import adapters, choices, filling, flows, hosting
from stoa.app.backing_up import open_backups
from stoa.app.knowledge import Models, open_bases, open_models, open_sources
from stoa.app.outbound import outbound_of
from stoa.app.resources import RunResources, open_resources
from stoa.app.slugs import Slugs, find_model
from stoa.app.storage import open_files
from stoa.app.triggering import AppRunner, TriggersOfKeys
from stoa.apps import component as apps_component
from stoa.callbacks import component as callbacks_component
from stoa.console import component as console_component
from stoa.conversations import component as conversations_component
from stoa.db.blobs import BlobStore
from stoa.db.counting import ListCounts
from stoa.db.node import Node
from stoa.dialects import component as dialects_component
from stoa.doctor import component as doctor_component
from stoa.gateway import component as gateway_component
from stoa.http.component import Component, Kit
from stoa.journal import component as journal_component
from stoa.outbound import Outbound
from stoa.requirements import component as requirements_component
from stoa.runs import component as runs_component
from stoa.settings import Settings
from stoa.streams import component as streams_component
from stoa.tools import component as tools_component
from stoa.traces import component as traces_component
from stoa.transfer import component as transfer_component
from stoa.triggers import component as triggers_component
from stoa.usage import component as usage_component


@dataclass(frozen=True, slots=True)
class Slices:
    """Every slice, built and not started. `all` is in the order in which they start."""

    all: Sequence[Component]
    doctor: doctor_component.DoctorComponent
    gateway: gateway_component.GatewayComponent
    runs: runs_component.RunsComponent
    node: Node
    first_owner: access.FirstOwner


@asynccontextmanager
async def open_slices(
    settings: Settings,
    kit: Kit,
    owner: access.Access,
    *,
    builtin: gateway.Model | None = None,
    toolbox: adapters.Toolbox | None = None,
) -> AsyncGenerator[Slices]:
    """Tests may replace the extractive model by `builtin` and the project's tools by `toolbox`."""
    async with AsyncExitStack() as stack:
        enter, outbound = stack.enter_async_context, outbound_of(settings)
        files, journal = await enter(open_files(settings, outbound)), await enter(journal_component.open_component(kit))
        public = apps.PublicApps(kit.database)
        living = adapters.living(owner, public)
        streams = await enter(_open_streams(settings, kit, owner, journal, living))
        reconnect = [kit.database.drop_connections, journal.writer.reconnect]
        node = await enter(runs_component.open_node(kit, reconnect, streams.streams.interrupt))
        journal.writer.others = lambda: bool(node.node.others)
        models = await enter(open_models(settings, outbound, kit, owner, journal, node.node, builtin))
        knowledge = await enter(open_bases(settings, outbound, kit, owner, node.node, models, files.knowledge))
        sources = await enter(open_sources(settings, outbound, kit, node.node, models, knowledge))
        kept = await enter(open_resources(kit, owner, files.artifacts, settings.public_url))
        programs = choices.programs(settings)
        tools = await enter(
            tools_component.open_component(kit, models.gateway.vault, owner, outbound=outbound, programs=programs)
        )
        library, filler = adapters.KnowledgeLibrary(knowledge.search), filling.KnowledgeWriting(knowledge.items)
        chosen = toolbox or adapters.ProjectToolbox(tools.tools, knowledge.search, library, kept.known)
        deployed = await enter(_open_apps(settings, kit, owner, models, chosen, public))
        hosted = await enter(_open_hosted(settings, outbound, kit, node.node, models, deployed, chosen))
        lent = _EarlierSlices(
            journal, streams, node.node, models, public, deployed, hosted, chosen, library, filler, kept
        )
        talking = await enter(_open_conversations(settings, kit, owner, lent, files.blobs))
        triggers = await enter(_open_triggers(settings, kit, node.node, models, hosted, talking))
        keys = await enter(_open_access(settings, outbound, kit, owner))
        dialects = await enter(_open_dialects(kit, talking, streams, models, deployed, chosen, settings.cors_origins))
        usage = await enter(usage_component.open_component(kit))
        exports = traces_component.Exporting(outbound, models.gateway.vault, choices.trace_endpoint(settings))
        days, apps_of = settings.traces_retention_days, deployed.apps
        traces = await enter(traces_component.open_component(kit, owner, apps_of, living, exports, retention_days=days))
        built: list[Component] = [
            *files.parts, journal, node, streams, models.gateway, talking.conversations, talking.runs, dialects,
            deployed, hosted.callbacks, hosted.requirements, *kept.parts, tools, knowledge, sources, triggers, keys,
            usage, traces, Component(background=[ListCounts(kit.database)]), open_backups(settings, kit),
        ]  # fmt: skip
        built.append(await enter(transfer_component.open_component(kit, access.Orgs(kit.database, kit.ids), built)))
        checks = [check for component in built for check in component.checks]
        doctor = await enter(doctor_component.open_component(kit, checks, runs.timeline, choices.data(settings)))
        held = access.Sessions(kit.database, kit.clock, owner)
        console = await enter(console_component.open_component(kit, held, keys.sign_ins, settings.public_url))
        yield Slices([*built, doctor, console], doctor, models.gateway, talking.runs, node.node, keys.first_owner)


def _open_apps(
    settings: Settings,
    kit: Kit,
    owner: access.Access,
    models: Models,
    toolbox: adapters.Toolbox,
    public: apps.PublicApps,
) -> AbstractAsyncContextManager[apps_component.AppsComponent]:
    return apps_component.open_component(
        kit,
        owner,
        adapters.AgentDefinitions(toolbox, kit.schemas, models.gateway.catalogue),
        flows.FlowGraphs(sandbox=settings.sandbox is not None),
        public,
        domain=settings.domain,
        public_url=settings.public_url,
    )


def _open_streams(
    settings: Settings,
    kit: Kit,
    owner: access.Access,
    journal: journal_component.JournalComponent,
    living: streams_component.LivingKeys,
) -> AbstractAsyncContextManager[streams_component.StreamsComponent]:
    return streams_component.open_component(
        kit, journal.journal, owner.principal_of, living, streams_per_key_max=settings.streams_per_key_max
    )


def _open_access(
    settings: Settings, outbound: Outbound, kit: Kit, owner: access.Access
) -> AbstractAsyncContextManager[access_component.AccessComponent]:
    return access_component.open_component(kit, owner, outbound, choices.outside(settings), TriggersOfKeys())


def _open_dialects(
    kit: Kit,
    talking: "_ConversationSlices",
    streams: streams_component.StreamsComponent,
    models: Models,
    deployed: apps_component.AppsComponent,
    toolbox: adapters.Toolbox,
    origins: Collection[str],
) -> AbstractAsyncContextManager[Component]:
    slugs = Slugs(models.gateway.catalogue, models.gateway.routing, deployed.apps)
    worker = talking.runs.worker
    beginning = dialects_component.Beginning(
        talking.runs.runs,
        talking.conversations.conversations,
        adapters.agent_check(toolbox, kit.schemas),
        slugs.models_of,
        lambda: worker.draining,
    )
    return dialects_component.open_component(kit, beginning, streams.streams, slugs.default_model, slugs.named, origins)


def _open_triggers(
    settings: Settings, kit: Kit, node: Node, models: Models, hosted: "_AppAbilities", talking: "_ConversationSlices"
) -> AbstractAsyncContextManager[Component]:
    return triggers_component.open_component(
        kit,
        node.id,
        models.gateway.vault,
        AppRunner(talking.runs.runs, hosted.requirements.lending.check),
        access.Acting(kit.database, kit.clock),
        public_url=settings.public_url,
    )


@dataclass(frozen=True, slots=True)
class _AppAbilities:
    """Additional abilities of the runs of apps."""

    callbacks: callbacks_component.CallbacksComponent
    requirements: requirements_component.RequirementsComponent
    reports: hosting.RunReports


@asynccontextmanager
async def _open_hosted(
    settings: Settings,
    outbound: Outbound,
    kit: Kit,
    node: Node,
    models: Models,
    deployed: apps_component.AppsComponent,
    toolbox: adapters.Toolbox,
) -> AsyncGenerator[_AppAbilities]:
    async with AsyncExitStack() as stack:
        vault, reports = models.gateway.vault, hosting.RunReports()
        required = await stack.enter_async_context(
            requirements_component.open_component(
                kit,
                vault,
                deployed.gate,
                outbound=outbound,
                domain=settings.domain,
                public_url=settings.public_url,
            )
        )
        if isinstance(toolbox, adapters.ProjectToolbox):
            toolbox.lending = required.lending
        called = await stack.enter_async_context(
            callbacks_component.open_component(kit, node.id, vault, reports, outbound=outbound)
        )
        yield _AppAbilities(called, required, reports)


@dataclass(frozen=True, slots=True)
class _EarlierSlices:
    """The abilities of earlier slices that conversations and runs get."""

    journal: journal_component.JournalComponent
    streams: streams_component.StreamsComponent
    node: Node
    models: Models
    public: apps.PublicApps
    apps: apps_component.AppsComponent
    hosted: "_AppAbilities"
    toolbox: adapters.Toolbox
    library: adapters.KnowledgeLibrary
    writing: filling.KnowledgeWriting
    kept: RunResources

    def context(self, transcript: conversations.Transcript) -> runs.Context:
        return runs.Context(transcript, self.models.documents, self.library, self.kept.recalling)


@dataclass(frozen=True, slots=True)
class _ConversationSlices:
    conversations: conversations_component.ConversationsComponent
    runs: runs_component.RunsComponent


def _reading(streams: streams_component.StreamsComponent) -> runs.Reading:
    """The journals of an app's runs, for the app's host."""
    return runs.Reading(
        streams.open_stream,
        streams.streams.admit,
        streams.replay,
        streams.events_page,
        streams.event_list,
        streams.open_chunks,
        streams.lines,
    )


@asynccontextmanager
async def _open_conversations(
    settings: Settings, kit: Kit, owner: access.Access, lent: _EarlierSlices, blobs: BlobStore
) -> AsyncGenerator[_ConversationSlices]:
    """Conversations and runs: each gets the abilities of the other."""
    async with AsyncExitStack() as stack:
        catalogue, streams = lent.models.gateway.catalogue, lent.streams
        reader = conversations.Reader(kit.database, partial(adapters.read_file, lent.models.documents, blobs))
        uploads, trials = hosting.AppUploads(), flows.FlowTrials(lent.apps.workflows, catalogue)
        worked = await stack.enter_async_context(
            runs_component.open_component(
                kit,
                lent.node,
                lent.journal.journal,
                catalogue,
                lent.context(conversations.Transcript(kit.database, reader, blobs)),
                find_model=find_model(catalogue, lent.models.gateway.routing, lent.models.gateway.breakers),
                open_tools=lent.toolbox.open,
                resource_tools=lent.kept.resource_tools,
                flows=lent.apps.released,
                library=lent.library,
                writing=lent.writing,
                open_stream=streams.open_stream,
                admit_stream=streams.streams.admit,
                is_operators_model=catalogue.find,
                app_gate=lent.apps.gate,
                app_projects=lent.apps.apps,
                callbacks=lent.hosted.callbacks.callbacks,
                recalling=lent.kept.recalling,
                check_requirements=lent.hosted.requirements.lending.check,
                uploads=uploads,
                published=lent.kept.published,
                trials=trials,
                reading=_reading(streams),
                living=adapters.valid_run_owners(owner, lent.public),
                revoked=settings.runs_of_revoked_keys,
                sandbox=choices.sandbox(settings),
                runs_max=settings.runs_max,
                runs_per_project_max=settings.runs_per_project_max,
                drain_seconds_max=settings.drain_seconds_max,
                origins=settings.cors_origins,
                public_url=settings.public_url,
            )
        )
        talks = await stack.enter_async_context(
            conversations_component.open_component(
                kit,
                blobs,
                reader,
                lent.journal.journal,
                worked.runs,
                catalogue,
                lent.toolbox,
                owner,
                lent.apps.apps,
                owner.principal_of,
            )
        )
        uploads.conversations, uploads.links = talks.conversations, talks.links
        trials.conversations, lent.hosted.reports.runs = talks.conversations, worked.runs
        yield _ConversationSlices(talks, worked)
