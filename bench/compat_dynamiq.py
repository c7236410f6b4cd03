"""Drives a server of this tree with the released command line of the platform, unmodified, by environment variables
alone: every group that it has.

    bench/compat_dynamiq.py [--python PYTHON] [--golden FILE]

The package is heavy: it is installed into a temporary environment, or PYTHON names an interpreter that has it. The
model is a scripted one on loopback. With --golden what the command line sends is written to FILE, as golden requests
that tests/http/test_dynamiq_requests.py replays. A line for each command; the exit status is the number of those that
failed. The server is that of the interpreter which runs this script, installed from a wheel or from source.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from bench.bed import KEY, free_port, serving, wait_for  # noqa: E402
from bench.recording import Recorder  # noqa: E402

VERSION: Final = "0.69.0"
NOWHERE: Final = "01890a5d-ac96-774b-bcce-b302099a8057"
HELD: Final = "dynamiq.connections.Http"


class Walk:
    """Runs commands, and prints the result of each."""

    def __init__(self, driver: "subprocess.Popen[str]", recorder: Recorder, environment: dict[str, str]) -> None:
        self._driver = driver
        self._recorder = recorder
        self.environment = environment
        self.failed = 0
        assert driver.stdout is not None
        self.commands = set(json.loads(driver.stdout.readline()))
        """Commands of the command line that were not run yet."""
        self.ids: dict[str, str] = {}
        """Ids of created objects, for later commands."""

    def run(self, command: str, *words: str, refused: str | None = None, **environment: str) -> Any:
        """Runs one command; `words` are appended unchanged, and not shown. Returns its output, parsed if it is JSON.
        With `refused` it must fail with that message."""
        status, out, err = self._send(command, words, environment)
        if refused is not None:
            good = status != 0 and refused in out + err
            self.row(f"dynamiq {command}", None if good else f"status {status}, {_last(out + err)}", "refused")
            return None
        self.row(f"dynamiq {command}", None if status == 0 else _last(out + err))
        try:
            return json.loads(out)
        except ValueError:
            return out

    def absent(self, command: str) -> None:
        """A command of an unsupported group. Some print the refusal and exit with 0."""
        _, out, err = self._send(command, (), {})
        said = out + err
        told = "501" in said and "This server has no" in said.replace("\\", "")
        self.row(f"dynamiq {command}", None if told else _last(said), "501, with what to use instead")

    def _send(self, command: str, words: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str, str]:
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._recorder.command = command
        words_of = command.split()
        self.commands -= {words_of[0], " ".join(words_of[:2])}
        argv = [*shlex.split(command.format_map(self.ids)), *words]
        self._driver.stdin.write(json.dumps({"argv": argv, "env": {**self.environment, **environment}}) + "\n")
        self._driver.stdin.flush()
        done = json.loads(self._driver.stdout.readline())
        return done["status"], done["out"], done["err"]

    def call(self, request: str, body: Any = None, key: str = KEY) -> Any:
        """A request for which the command line has no command, in the form of any client of the platform's HTTP API."""
        method, _, path = request.format_map(self.ids).partition(" ")
        self._recorder.command = "(HTTP)"
        try:
            answer = ask(method, self._recorder.url + path, key, body)
        except urllib.error.HTTPError as error:
            self.row(request, f"{error.code} {error.read().decode()}")
            return {}
        self.row(request, None)
        return answer

    def until(self, path: str, place: str, *wanted: str) -> None:
        """Waits for background work."""
        self._recorder.command = "(waits)"
        reached = self._recorder.until(path.format_map(self.ids), place, *wanted)
        what = f"it is {' or '.join(wanted)}" if wanted else f"there is {place.rpartition('.')[2]}"
        self.row(f"  until {what}", None if reached else "it is not so after a minute")

    def check(self, what: str, *, true: bool) -> None:
        self.row(f"  {what}", None if true else "it is not so")

    def row(self, command: str, problem: str | None, result: str = "ok") -> None:
        self.failed += problem is not None
        shown = command if len(command) <= 92 else command[:91] + "…"
        print(f"{shown:92} | {result if problem is None else 'FAILED: ' + problem}", flush=True)


def _last(said: str) -> str:
    return " / ".join(line.strip() for line in said.strip().splitlines()[-3:])[:600]


def ask(method: str, url: str, key: str, body: Any = None) -> Any:
    request = urllib.request.Request(url, method=method, headers={"Authorization": f"Bearer {key}"})
    if body is not None:
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, None if body is None else json.dumps(body).encode(), timeout=60) as answer:
        return json.loads(answer.read() or b"null")


# --- the groups -----------------------------------------------------------------------------------------------------
def flow_of(connection: str, says: str) -> dict[str, Any]:
    """Input, an agent that may ask a person, Output: as the platform's editor draws it."""
    feedback = {"type": "dynamiq.nodes.tools.HumanFeedbackTool", "name": "ask-person", "id": NOWHERE}
    schema = {"type": "object", "properties": {"input": {"type": "string"}}}
    model = {
        "id": NOWHERE,
        "name": "model",
        "type": "dynamiq.nodes.llms.OpenAI",
        "model": "scripted",
        "connection": connection,
    }
    return {
        "id": NOWHERE,
        "nodes": [
            {"id": "input", "name": "input", "type": "dynamiq.nodes.utils.Input", "schema": schema},
            {
                "id": "agent",
                "name": "agent",
                "type": "dynamiq.nodes.agents.Agent",
                "role": says,
                "llm": model,
                "tools": [feedback],
                "max_loops": 5,
                "depends": [{"node": "input"}],
                "input_transformer": {"selector": {"input": "$.input.output.input"}},
            },
            {
                "id": "output",
                "name": "output",
                "type": "dynamiq.nodes.utils.Output",
                "depends": [{"node": "agent"}],
                "input_transformer": {"selector": {"content": "$.agent.output.content"}},
            },
        ],
    }


def script(**fields: Any) -> str:
    return f"Hi [[script {json.dumps(fields)}]]"


def identity(walk: Walk) -> None:
    walk.run("config show")
    who = walk.run("whoami --json")
    walk.check("the user, the organization and the project are known", true=bool(who["ok"] and who["user"]["email"]))
    walk.run("whoami")
    walk.run("whoami", DYNAMIQ_API_TOKEN=KEY)
    walk.run("whoami", DYNAMIQ_API_TOKEN="stoa_pat_" + "x" * 64, refused="Token rejected (401)")
    walk.run("whoami", DYNAMIQ_PROJECT_ID=NOWHERE, refused="was not found (404)")


def organizations(walk: Walk) -> None:
    walk.run("org list")
    walk.run("org set --id {org}")
    walk.run(f"org set --id {NOWHERE}", refused="was not found (404)")
    walk.run("project list")
    walk.run("project set --id {project}")
    walk.run(f"project set --id {NOWHERE}", refused="was not found (404)")


def connections(walk: Walk) -> None:
    listed = walk.run("connection list")
    walk.ids["connection"] = listed["data"][0]["id"]
    walk.run("connection list --all --compact --all-projects")
    openai = walk.run("connection list --type dynamiq.connections.OpenAI --no-include-system")
    none = walk.run("connection list --type dynamiq.connections.Exa --type dynamiq.connections.Tavily")
    walk.check("--type filters", true=len(openai["data"]) == 1 and not none["data"])
    got = walk.run("connection get {connection}")
    walk.check("no credential is given back", true="sk-scripted" not in json.dumps(got))
    walk.run(f"connection get {NOWHERE}", refused="HTTP 404")


def ingestion(connection: str | None = None) -> dict[str, Any]:
    """The pipeline that the platform's clients send: convert, split, embed, write."""
    embedder: dict[str, Any] = {"type": "dynamiq.nodes.embedders.OpenAIDocumentEmbedder", "id": "embedder"}
    nodes = [
        {"id": "input", "name": "input", "type": "dynamiq.nodes.utils.Input", "schema": {"type": "object"}},
        {
            "id": "splitter",
            "name": "splitter",
            "type": "dynamiq.nodes.splitters.DocumentSplitter",
            "split_by": "character",
            "split_length": 600,
            "split_overlap": 0,
            "depends": [{"node": "input"}],
        },
        *([{**embedder, "connection": connection, "model": "text-embedding-3-small"}] if connection else []),
        {
            "id": "output",
            "name": "output",
            "type": "dynamiq.nodes.utils.Output",
            "depends": [{"node": "splitter"}],
        },
    ]
    return {"flow": {"id": NOWHERE, "nodes": nodes}, "flow_ui": {"nodes": [], "edges": [], "custom_node_data": {}}}


def knowledge(walk: Walk) -> None:
    made = walk.run("knowledge-base create", json.dumps({"name": "handbook", **ingestion()}))
    walk.ids["base"] = made["data"]["id"]
    got = walk.run("knowledge-base get {base}")["data"]
    walk.check("its ingestion flow is kept", true=got["flow"] == ingestion()["flow"])
    walk.check("the flow's splitter decides the length of a chunk", true=got["chunking"]["characters_max"] == 600)
    walk.run("knowledge-base list --all")
    walk.run("knowledge-base update {base}", json.dumps({"description": "What holds for all."}))
    with tempfile.TemporaryDirectory() as home:
        files = {"notice.md": "# Notice\n\nThe notice period is four weeks.", "leave.txt": "Leave is thirty days."}
        for name, text in files.items():
            (Path(home) / name).write_text(text)
        walk.run("knowledge-base upload {base}", *(str(Path(home) / name) for name in files))
    walk.until("/v1/knowledgebases/{base}/items", "data.*.status", "processed")
    items = walk.run("knowledge-base items {base} --page-size 1")
    walk.run("knowledge-base items {base} --all --compact")
    walk.ids["item"] = items["data"][0]["id"]
    walk.run("knowledge-base item {item}")
    found = walk.run("knowledge-base search {base}", "How long is the notice period?", "--limit", "1")
    walk.check("a search finds it", true="four weeks" in found["data"][0]["content"])
    walk.run("knowledge-base search {base} notice --threshold 0.1")
    walk.run("knowledge-base item-reprocess {item}")
    walk.run("knowledge-base sources {base}")
    source = {"name": "pages", "provider": "website", "config": {"url": "https://127.0.0.1:9/"}}
    walk.ids["source"] = walk.run("knowledge-base source-add {base}", json.dumps(source))["data"]["id"]
    drive = {"name": "drive", "provider": "google_drive", "config": {}, "connection_id": NOWHERE}
    walk.run("knowledge-base source-add {base}", json.dumps(drive), refused="HTTP 400")
    walk.run("knowledge-base source-sync {source}")
    walk.run("knowledge-base item-delete {item} --yes")
    walk.run("knowledge-base delete {base} --yes")


def workflows(walk: Walk) -> None:
    walk.run("workflow list")
    made = walk.run("workflow create", json.dumps({"name": "triage", "description": "Sorts tickets."}))
    walk.ids["workflow"] = made["data"]["id"]
    flow = json.dumps(flow_of(walk.ids["connection"], "You sort tickets."))
    walk.run("workflow node-types")
    walk.run("workflow node-types llms")
    walk.run("workflow validate", flow)
    walk.run("workflow validate --offline", flow)
    unknown = flow.replace("agents.Agent", "agents.Clairvoyant")
    walk.run("workflow validate", unknown, refused="problem(s)")
    walk.run("workflow flow-ui", flow)
    walk.run("workflow verify {workflow}", refused="only the starter node")
    walk.run("workflow save {workflow}", flow)
    walk.run("workflow verify {workflow}")
    got = walk.run("workflow get {workflow}")["data"]
    walk.check("the flow is what was saved", true=got["flow"] == json.loads(flow))
    tested = walk.run("workflow test", flow, json.dumps({"input": script(pieces=["Urgent."])}))
    walk.check("the test answers", true="Urgent." in json.dumps(tested))
    walk.run("workflow test --no-dry-run --last-node-output", flow, json.dumps({"input": script(pieces=["Late."])}))
    released = walk.run("workflow release {workflow}")
    walk.ids["version"] = released["data"]["id"]
    walk.run("workflow release {workflow} --name second --flow", flow.replace("You sort", "Please sort"))
    walk.run("workflow release {workflow} --flow", unknown, refused="Clairvoyant")
    walk.run("workflow versions {workflow}")
    walk.run("workflow list --all --compact")
    _requirements_of_workflow(walk)


def _requirements_of_workflow(walk: Walk) -> None:
    need = {
        "name": "crm",
        "type": "connection",
        "form": {"title": "Your CRM", "description": "We read your customers."},
        "spec": {"type": HELD, "fields": ["token"]},
        "optional": True,
    }
    walk.ids["requirement"] = walk.run("workflow requirement-add {workflow}", json.dumps(need))["data"]["id"]
    walk.run("workflow requirements {workflow}")
    walk.run("workflow requirement-get {workflow} {requirement}")
    changed = {"form": {"title": "Your customers", "description": "Read only."}, "optional": True}
    walk.run("workflow requirement-update {workflow} {requirement}", json.dumps(changed))


def apps(walk: Walk) -> None:
    made = walk.run('app deploy --name "Triage 1.0" --workflow {workflow} --description "Sorts tickets."')
    walk.ids["app"] = made["data"]["id"]
    public = walk.run(
        "app deploy --name open --workflow {workflow} --version {version} --access public --type server_based",
        "--autoscaling",
        '{"min_replicas": 1}',
    )
    walk.ids["public"] = public["data"]["id"]
    walk.run("app list --workflow {workflow} --include-archived")
    walk.run("app list --all --compact")
    walk.run("app get {app}")
    walk.run("app redeploy {app} --workflow {workflow} --version {version}")
    walk.run("app deployments {app}")
    answered = walk.run("app invoke {app}", json.dumps({"input": script(pieces=["Urgent."])}))
    walk.check("it answers", true=answered["output"]["content"] == "Urgent.")
    walk.run("app invoke {app}", json.dumps({"input": {"input": script(pieces=["Late."])}}))
    walk.run("app invoke {app}", '{"input": "x"}', DYNAMIQ_ACCESS_KEY=walk.environment["PAT"], refused="HTTP 403")
    walk.run("app invoke {public}", json.dumps({"input": script(pieces=["Hi."])}))
    walk.run("app requirements {app}")
    walk.run("app requirements-status {app} u-1")
    token = walk.run("app connect-token {app} u-1 --requirement {requirement}")
    config = {"type": HELD, "config": {"token": "example"}}
    walk.call("POST /v1/connect/requirements/{requirement}/credentials", config, token["token"])
    status = walk.run("app requirements-status {app} u-1")
    walk.check("what the user connected counts", true=status["status"] == "complete")
    walk.run("app disconnect {app} {requirement} u-1 --yes")
    walk.run("workflow requirement-delete {workflow} {requirement} --yes")
    _runs(walk)


def _runs(walk: Walk) -> None:
    """The command line has no commands for the Runs API: any HTTP client is its documented way."""
    tool = {"name": "ask_human", "arguments": json.dumps({"question": "Which floor?"})}
    asks = script(turns=[{"tool": tool}, {"pieces": ["The third."]}])
    run = walk.call("POST /apps/{app}/v1/runs", {"input": {"input": asks}, "background": True, "user_id": "u-1"})
    walk.ids["run"] = run["data"]["id"]
    walk.until("/apps/{app}/v1/runs/{run}", "data.status", "paused")
    waiting = walk.call("GET /apps/{app}/v1/runs?status=awaiting_input&user_id=u-1")["data"]
    request = waiting[0]["input_requests"][0]["id"]
    given = {"type": "human_feedback", "data": {"request_id": request, "feedback": "The third."}}
    walk.call("POST /apps/{app}/v1/runs/{run}/input", given)
    walk.until("/apps/{app}/v1/runs/{run}", "data.status", "completed")
    slow = {"input": {"input": script(pieces=["One "] * 200, delay=0.2)}, "background": True}
    walk.ids["run"] = walk.call("POST /apps/{app}/v1/runs", slow)["data"]["id"]
    walk.call("POST /apps/{app}/v1/runs/{run}/cancel")
    walk.until("/apps/{app}/v1/runs/{run}", "data.status", "canceled")
    walk.call("GET /apps/{app}/v1/runs/{run}/events")


def triggers(walk: Walk) -> None:
    body = {
        "name": "morning",
        "provider": "schedule",
        "config": {"timezone": "Europe/Berlin", "schedule": "0 9 * * 1"},
        "input_transformer": {"selector": {"input": "Which tickets are open?"}},
    }
    walk.ids["trigger"] = walk.run("trigger create {app}", json.dumps(body))["data"]["id"]
    walk.run("trigger create {app}", '{"name": "drive", "config": {"trigger_id": "x"}}', refused="provider")
    made = walk.run("trigger create-schedule {app} --name once --run-at 2099-01-01T00:00:00Z")
    walk.ids["once"] = made["data"]["id"]
    walk.run(
        "trigger create-schedule {app} --name weekly", "--cron", "0 9 * * 1", "--expires-at", "2099-01-01T00:00:00Z"
    )
    walk.run("trigger list {app}")
    walk.run("trigger get {app} {trigger}")
    walk.run("trigger run {app} {trigger}", refused="HTTP 400")
    changed = {**body, "config": {"timezone": "Europe/Berlin", "schedule": "30 9 * * 1"}}
    walk.run("trigger update {app} {trigger}", json.dumps(changed))
    walk.run("trigger update {app} {trigger}", json.dumps({"config": changed["config"]}))
    walk.run("trigger activate {app} {trigger}")
    walk.run("trigger run {app} {trigger}")
    walk.until("/v1/apps/{app}/triggers/{trigger}/events", "data.*.run_id")
    events = walk.run("trigger events {app} {trigger}")
    walk.check("its event is there", true=bool(events["data"]))
    walk.run("trigger deactivate {app} {trigger}")
    walk.run("trigger delete {app} {once} --yes")


def memories(walk: Walk) -> None:
    walk.ids["memory"] = walk.run("memory create", json.dumps({"name": "talks"}))["data"]["id"]
    walk.run("memory list")
    walk.run("memory get {memory}")
    said = {"role": "user", "content": [{"type": "text", "text": "I live in Rome."}]}
    item = {"user_id": "u-1", "session_id": NOWHERE, "type": "message", "data": said}
    walk.call("POST /v1/memories/{memory}/items", item)
    found = walk.run("memory items {memory} --user-id u-1")
    walk.check("without a session, all of the user's are listed", true=len(found["data"]) == 1)
    walk.run(f"memory items {{memory}} --user-id u-1 --session-id {NOWHERE} --all")
    walk.run(f"memory clear {{memory}} --user-id u-1 --session-id {NOWHERE} --yes")
    walk.run("memory clear {memory} --user-id u-1 --yes")
    walk.run("memory delete {memory} --yes")
    walk.ids["store"] = walk.run("memory-store create", json.dumps({"name": "notes"}))["data"]["id"]
    walk.run("memory-store list")
    walk.run("memory-store get {store}")
    walk.run("memory-store update {store}", json.dumps({"description": "What was learned."}))
    walk.run("memory-store write {store} notes/rome.md --user-id u-1 --content Sunny.")
    walk.run("memory-store files {store} --user-id u-1 --path notes/")
    walk.run("memory-store read {store} notes/rome.md --user-id u-1")
    read = walk.run("memory-store read {store} notes/rome.md --user-id u-1 --raw")
    walk.check("a file is read as it was written", true=read == "Sunny.")
    walk.run("memory-store write {store} ../x --user-id u-1 --content y", refused="HTTP 400")
    walk.run("memory-store delete-file {store} notes/rome.md --user-id u-1 --yes")
    walk.run("memory-store delete {store} --yes")


def skills(walk: Walk) -> None:
    new = {"name": "tone", "description": "Use when a letter is written.", "instructions": "Be brief."}
    walk.ids["skill"] = walk.run("skill create", json.dumps(new))["data"]["id"]
    walk.run("skill list --include-official")
    walk.run("skill get {skill}")
    walk.run("skill version-add {skill}", json.dumps({"description": "Use for letters.", "instructions": "Be kind."}))
    with tempfile.TemporaryDirectory() as home:
        archive = Path(home) / "tables.zip"
        with zipfile.ZipFile(archive, "w") as packed:
            text = "---\nname: tables\ndescription: Use for tables.\n---\nAlign the numbers.\n"
            packed.writestr(zipfile.ZipInfo("SKILL.md"), text)
        walk.ids["uploaded"] = walk.run("skill upload", str(archive))["data"]["id"]
        walk.run("skill version-upload {uploaded}", str(archive))
    versions = walk.run("skill versions {skill}")
    walk.ids["skill_version"] = versions["data"][0]["id"]
    walk.run("skill instructions {skill} {skill_version}")
    walk.run("skill instructions {skill} latest")
    walk.run("skill import-github https://github.com/stoa/none", refused="HTTP")
    walk.run("skill delete {uploaded} --yes")
    walk.run("skill delete {skill} --yes")


def artifacts(walk: Walk) -> None:
    with tempfile.TemporaryDirectory() as home:
        report, saved = Path(home) / "report.md", Path(home) / "saved.md"
        report.write_text("# Rooms\n\nTwo rooms are wet.\n")
        made = walk.run("artifact publish --name Rooms --description first", str(report))
        walk.ids["artifact"] = made["data"]["id"]
        report.write_text("# Rooms\n\nOne room is wet.\n")
        walk.run("artifact update {artifact} --description second", str(report))
        walk.run(f"artifact publish --artifact-id {{artifact}} --if-match {NOWHERE}", str(report), refused="HTTP 4")
        walk.run("artifact list")
        walk.run("artifact list --kind markdown --all --compact")
        walk.run("artifact get {artifact}")
        walk.run("artifact get {artifact} --version 1")
        walk.run("artifact get {artifact} --version 1 --out", str(saved))
        walk.check("a version is saved as it was", true="Two rooms" in saved.read_text())
        walk.run("artifact share {artifact} --pin 2 --expires-in-days 36500")
        walk.run("artifact share {artifact} --revoke")


def gone(walk: Walk) -> None:
    walk.run("app delete {app} --yes")
    walk.run("app get {app}", refused="HTTP 404")
    walk.run("app delete {public} --yes")


ABSENT: Final = """
service list · service get --id 1 · service create --name crm · service deploy --id 1 --image crm
service deploy --id 1 --source {empty} · service status --id 1 · service update --id 1 --access public
service delete --id 1 · resource-profiles list
inference list · inference runtimes · inference runtime-models 1 · inference create "{{}}" · inference get 1
inference update 1 "{{}}" · inference pods 1 · inference logs 1 pod · inference test 1 Hi · inference restart 1
inference delete 1 --yes
fine-tuning jobs · fine-tuning start "{{}}" · fine-tuning job 1 · fine-tuning pods 1 · fine-tuning logs 1 pod
fine-tuning cancel 1 --yes · fine-tuning adapters · fine-tuning adapter 1
database list · database create "{{}}" · database get 1 · database credentials 1 · database delete 1 --yes
voice catalog · voice list · voice create "{{}}" · voice get 1 · voice update 1 "{{}}" · voice deploy 1
voice undeploy 1 · voice deployments 1 · voice calls 1 · voice call 1 2 · voice recording 1 2 · voice telephony 1
voice simulate 1 "{{}}" · voice simulations 1 · voice duplicate 1 · voice delete 1 --yes
integration list · integration connect notion · integration accounts · integration connect-project notion
integration app notion · integration components notion · integration component notion-create-page
integration component-props key "{{}}" · integration component-options key prop "{{}}"
dataset list --all · dataset create "{{}}" · dataset get 1 · dataset versions 1 · dataset version-create 1
dataset items-add 1 "[{{}}]" · dataset items 1 · dataset release 1 · dataset fork 1 · dataset download 1
evaluation metrics · evaluation metric 1 · evaluation metric-create "{{}}" · evaluation metric-test "{{}}"
evaluation start "{{}}" · evaluation list · evaluation get 1 · evaluation results 1 · evaluation results-download 1
evaluation summary 1 · evaluation rerun 1 · evaluation delete 1 --yes · evaluation app-list {app}
evaluation app-attach {app} "{{}}" · evaluation app-get 1 · evaluation app-update 1 "{{}}" · evaluation app-runs 1
evaluation app-detach 1 --yes
"""
"""Every command of the unsupported groups."""


def absent(walk: Walk) -> None:
    with tempfile.TemporaryDirectory() as empty:
        walk.ids["empty"] = empty
        for line in ABSENT.strip().splitlines():
            for command in line.split(" · "):
                walk.absent(command)


GROUPS: Final[tuple[Callable[[Walk], None], ...]] = (
    identity,
    organizations,
    connections,
    knowledge,
    workflows,
    apps,
    triggers,
    memories,
    skills,
    artifacts,
    absent,
    gone,
)
"""In this order: later groups use what earlier ones create."""


# --- the set-up -----------------------------------------------------------------------------------------------------
def interpreter(home: Path) -> str:
    """One that has the package."""
    if "--python" in sys.argv:
        return sys.argv[sys.argv.index("--python") + 1]
    subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True)
    python = str(home / "venv/bin/python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"dynamiq=={VERSION}"], check=True)
    return python


def owner(data: Path) -> str:
    """The personal access token of a user who owns the organization."""
    stoa = [sys.executable, "-m", "stoa", "users"]
    where = ["--data-dir", str(data)]
    subprocess.run(
        [*stoa, "create", "ada@example.com", "--owner", "--first-name", "Ada", "--password-stdin", *where],
        input="correct horse battery staple\n",
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    made = subprocess.run([*stoa, "token", "ada@example.com", *where], text=True, check=True, capture_output=True)
    return "".join(made.stdout.split())


def main() -> int:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        home.chmod(0o755)
        python, port, data = interpreter(home), free_port(), home / "data"
        data.mkdir()
        model = subprocess.Popen([sys.executable, str(ROOT / "tests/support/scripted_model.py"), "--port", str(port)])
        stack.callback(model.wait)
        stack.callback(model.kill)
        wait_for(f"http://127.0.0.1:{port}/log")
        private = {"STOA_ALLOW_PRIVATE_ADDRESSES": "true"}
        _, url = stack.enter_context(serving(data, **private))
        token = owner(data)
        config = {"base_url": f"http://127.0.0.1:{port}/v1", "api_key": "sk-scripted"}
        ask("POST", f"{url}/v1/connections", KEY, {"name": "openai", "type": "openai", "config": config})
        org = ask("GET", f"{url}/v1/orgs", token)["data"][0]["id"]
        project = ask("GET", f"{url}/v1/projects?org_id={org}", token)["data"][0]["id"]
        recorder = Recorder(url, {KEY: "key", token: "token"}, {org: "{org}", project: "{project}"})
        stack.callback(recorder.close)
        environment = {
            "DYNAMIQ_API_BASE_URL": recorder.url,
            "DYNAMIQ_API_TOKEN": token,
            "DYNAMIQ_ORG_ID": org,
            "DYNAMIQ_PROJECT_ID": project,
            "DYNAMIQ_ACCESS_KEY": KEY,
            "PAT": token,
        }
        driver = stack.enter_context(
            subprocess.Popen(
                [python, str(ROOT / "bench/dynamiq_cli.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "PYTHONHASHSEED": "0"},
            )
        )
        stack.callback(driver.kill)
        walk = Walk(driver, recorder, environment)
        walk.ids |= {"org": org, "project": project}
        print(f"dynamiq {VERSION}, by environment variables alone\n")
        for group in GROUPS:
            group(walk)
        for command in sorted(walk.commands):
            walk.row(f"dynamiq {command}", "this script does not run it")
        print(f"\n{walk.failed} failed")
        if "--golden" in sys.argv:
            Path(sys.argv[sys.argv.index("--golden") + 1]).write_text(recorder.written())
        return min(walk.failed, 100)


if __name__ == "__main__":
    sys.exit(main())
