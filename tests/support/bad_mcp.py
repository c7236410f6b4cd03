"""A faulty MCP server over stdio, written by hand: `python -S -E tests/support/bad_mcp.py MODE DIARY`.

It speaks just enough of the protocol. MODE says how a call fails; the diary records what the server received.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

MODE, DIARY = sys.argv[1], sys.argv[2]
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}
DIARY = Path(DIARY)
calls = 0


def note(what):
    with DIARY.open("a") as file:
        file.write(what + "\n")


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(request, text):
    send({"id": request["id"], "result": {"content": [{"type": "text", "text": text}]}})


def tools():
    names = ["touch", "again"] if MODE == "changes" and calls else ["touch"]
    schema = {"type": "string"} if MODE == "schema" else SCHEMA
    hints = {"readOnlyHint": True} if MODE == "readonly" else {}
    return [{"name": name, "description": "Touches.", "inputSchema": schema, "annotations": hints} for name in names]


def call(request):  # noqa: C901 — one branch for each misdeed
    global calls
    calls += 1
    note(f"call {request['params'].get('_meta', {}).get('stoa/idempotency-key', '')}")
    if MODE == "dies" or (MODE == "dies_once" and DIARY.read_text().count("call") == 1):
        os._exit(3)
    elif MODE in ("hangs", "readonly"):
        child = subprocess.Popen(["sleep", "300"])
        note(f"child {child.pid} of {os.getpid()}")
        time.sleep(300)
    elif MODE == "waits":
        return  # … and continues reading: the cancel comes next.
    elif MODE == "garbage":
        print("DEBUG: working on it\n{not json\n[]\n", flush=True)
        answer(request, "after the garbage")
    elif MODE == "wrong":
        send({"id": request["id"], "result": {"content": 5, "isError": "maybe"}})
    elif MODE == "nonsense":
        print(json.dumps({"jsonrpc": "1.0", "id": request["id"], "result": "?"}), flush=True)
    elif MODE == "refuses":
        send({"id": request["id"], "error": {"code": -32000, "message": "no such luck"}})
    elif MODE == "big":
        answer(request, "x" * 10_000_000)
    elif MODE == "endless":
        while True:
            sys.stdout.write("x" * 65536)
    elif MODE == "drips":
        for character in json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": {"content": []}}):
            sys.stdout.write(character)
            sys.stdout.flush()
            time.sleep(0.05)
    elif MODE == "changes":
        send({"method": "notifications/tools/list_changed"})
        answer(request, f"call {calls}")
    elif MODE == "secret":
        answer(
            request,
            f"the token is {os.environ['API_TOKEN']}, "
            f"and stoa has {[name for name in os.environ if name.startswith('STOA')]}",
        )
    else:
        answer(request, os.environ.get("SAYS", f"touched {request['params'].get('arguments', {}).get('text', '')}"))


note(f"started {os.getpid()}")
for line in sys.stdin:
    message = json.loads(line)
    method = message.get("method")
    if MODE == "mute":
        continue
    if method == "initialize":
        if MODE == "refuses_to_open":
            os._exit(1)
        result = {
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "bad", "version": "1"},
        }
        send({"id": message["id"], "result": result})
    elif method == "tools/list":
        while MODE == "late" and not DIARY.with_suffix(".ready").exists():
            time.sleep(0.02)
        if MODE == "pages":
            send({"id": message["id"], "result": {"tools": tools(), "nextCursor": "more"}})
        else:
            send({"id": message["id"], "result": {"tools": tools()} if MODE != "no_list" else {"tools": "none"}})
    elif method == "tools/call":
        call(message)
    elif method == "notifications/cancelled":
        note("cancelled")
    elif "id" in message:
        send({"id": message["id"], "error": {"code": -32601, "message": f"no {method}"}})
note("stdin closed")
