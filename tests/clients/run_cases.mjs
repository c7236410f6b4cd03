// Runs cases with the JavaScript client: a JSON list on standard input, a line of JSON for each on standard output.

import { Stoa, StoaError } from "../../clients/javascript/src/index.js";

const KEY = "stoa_acc_" + "x".repeat(64);
const CONVERSATION_ID = "0b54a6d2-0000-4000-8000-000000000002";
const AT_ONCE = 16;
const FIELDS = {
  status: "status",
  code: "code",
  details: "details",
  retryAfter: "retry_after",
  sequence: "sequence",
  expected: "expected",
  received: "received",
  activeRunId: "active_run_id",
  retryable: "retryable",
  reason: "reason",
  message: "message",
};

const camel = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
const inCamelCase = (fields) => Object.fromEntries(Object.entries(fields).map(([name, value]) => [camel(name), value]));

function errorOf(error) {
  if (!(error instanceof StoaError)) throw error;
  const fields = Object.entries(FIELDS).filter(([name]) => error[name] !== undefined);
  return { kind: error.name, ...Object.fromEntries(fields.map(([name, snake]) => [snake, error[name]])) };
}

async function result({ url, via, after, policy, run_id }) {
  const found = { events: [], changes: [], text: "", verified: null, error: null, output: null, output_error: null };
  const started = performance.now();
  const stoa = new Stoa({ url, key: KEY, retries: inCamelCase(policy) });
  try {
    const stream = await (via === "send"
      ? stoa.send(CONVERSATION_ID, "Hi")
      : stoa.runs.stream(run_id, after ? { after_sequence: after } : {}));
    try {
      for await (const event of stream) {
        found.events.push(event);
        const change = stream.lastChange;
        if (change) found.changes.push([change.delta, change.text, change.discarded]);
      }
    } finally {
      Object.assign(found, { text: stream.text, verified: stream.verified });
    }
    try {
      found.output = await stream.output();
    } catch (error) {
      found.output_error = errorOf(error);
    }
  } catch (error) {
    found.error = errorOf(error);
  }
  return { ...found, seconds: (performance.now() - started) / 1000 };
}

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const all = JSON.parse(Buffer.concat(chunks).toString());
const results = new Array(all.length);
const run = async (place) => {
  results[place] = await result(all[place]);
};
// Where the case is about time or counts attempts, alone: others' broken connections lie in the pool that all share.
const timed = (place) => all[place].policy.idle_seconds < 5 || all[place].policy.attempts;
const places = [...all.keys()];
const alone = places.filter(timed);
const together = places.filter((place) => !timed(place));
// On a busy machine five of those lie there at times.
for (const place of together) all[place].policy.attempts = 50;
const worker = async () => {
  while (together.length) await run(together.shift());
};
await Promise.all(Array.from({ length: AT_ONCE }, worker));
for (const place of alone) await run(place);
for (const one of results) console.log(JSON.stringify(one));
