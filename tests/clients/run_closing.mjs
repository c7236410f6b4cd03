// Closes streams of the JavaScript client while they wait: for the next event, between two connections, for an answer.

import { Stoa } from "../../clients/javascript/src/index.js";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const { url, run_id: run } = JSON.parse(Buffer.concat(chunks).toString());
const HOUR = 3600;
const started = '{"type": "run.started", "sequence": 1, "data": {"id": "r"}}';
const first = () => new Response(`data: ${started}\n\n`, { headers: { "Content-Type": "text/event-stream" } });
const said = (name, value) => console.log(JSON.stringify({ [name]: value }));
const stoa = (fetch, more = {}) => new Stoa({ url, key: "stoa_acc_x", fetch, retries: { firstSeconds: HOUR, secondsMax: HOUR, ...more } });

// The server sends two events and is silent.
const silent = await stoa(undefined).runs.stream(run);
const events = silent[Symbol.asyncIterator]();
said("read", [(await events.next()).value.sequence, (await events.next()).value.sequence]);
const next = events.next();
await silent.close();
said("closed while it waits for an event", await next);

// The first connection has ended; the next is tried in an hour.
const between = await stoa(async () => first()).runs.stream("r");
const reading = between[Symbol.asyncIterator]();
await reading.next();
const later = reading.next();
await new Promise(resolve => setImmediate(resolve));
await between.close();
said("closed between two connections", await later);

// The next connection is being made, and nobody answers.
let asked;
const dialled = new Promise(resolve => { asked = resolve; });
let calls = 0;
const dialling = await stoa(async (_, { signal }) => {
  if (!calls++) return first();
  asked();
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
}, { firstSeconds: 0 }).runs.stream("r");
const waiting = dialling[Symbol.asyncIterator]();
await waiting.next();
const never = waiting.next();
await dialled;
await dialling.close();
said("closed while it connects", await never);

// A signal of the caller's is an error of its own, and is let go of with the stream.
const controller = new AbortController();
const aborted = await stoa(async () => first()).runs.stream("r", {}, { signal: controller.signal });
const given = aborted[Symbol.asyncIterator]();
await given.next();
const last = given.next();
controller.abort(new Error("enough"));
said("aborted by the caller", await last.catch(error => error.message));
