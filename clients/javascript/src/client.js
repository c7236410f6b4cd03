import { Conversations, Keys, KnowledgeBases, Models, Runs, Traces, Usage } from "./resources.js";
import { DEFAULTS } from "./retry.js";
import { Transport } from "./transport.js";
import { VERSION } from "./version.js";

const environment = globalThis.process?.env ?? {};
const inBrowser = typeof globalThis.document !== "undefined";

/**
 * A Stoa server. `url` and `key` default to STOA_URL and STOA_KEY, in a browser `url` to the page's own origin. A page
 * that is signed in by a cookie passes `key: null`.
 *
 * Calls are retried after 429 and 503, and after a lost connection if that is safe: POSTs that create something have an
 * Idempotency-Key.
 */
export class Stoa {
  constructor({ url, key, retries = {}, fetch = globalThis.fetch, headers = {}, credentials = "same-origin" } = {}) {
    const credential = key === null ? {} : { Authorization: `Bearer ${checkedKey(key)}` };
    // Compression would delay the events of a stream. Browsers do not let a page set these headers.
    const own = inBrowser ? {} : { "User-Agent": `stoa-client-javascript/${VERSION}`, "Accept-Encoding": "identity" };
    this.url = baseUrl(url);
    const transport = new Transport({
      url: this.url,
      headers: { Accept: "application/json", ...own, ...credential, ...headers },
      policy: { ...DEFAULTS, ...retries },
      fetch: (...request) => fetch(...request),
      credentials,
    });
    this.conversations = new Conversations(transport);
    this.runs = new Runs(transport);
    this.knowledgeBases = new KnowledgeBases(transport);
    this.models = new Models(transport);
    this.traces = new Traces(transport);
    this.usage = new Usage(transport);
    this.keys = new Keys(transport);
  }

  /** Sends a message; returns the stream of the run that answers it. A busy conversation throws ConflictError. */
  send(conversationId, content, fields, options) {
    return this.conversations.send(conversationId, content, fields, options);
  }

  /** Sends a message, waits for the complete answer and returns its text. Throws RunFailed, RunCanceled. */
  async ask(conversationId, content, fields, options) {
    const stream = await this.send(conversationId, content, fields, options);
    return stream.output();
  }
}

function baseUrl(given) {
  const origin = inBrowser ? globalThis.location.origin : "http://localhost:8080";
  const text = String(given ?? environment.STOA_URL ?? origin).trim().replace(/\/+$/, "");
  let parsed = null;
  try {
    parsed = new URL(text);
  } catch {
    // Reported below.
  }
  if (!parsed || !["http:", "https:"].includes(parsed.protocol) || parsed.search || parsed.hash) {
    throw new TypeError(`${JSON.stringify(text)} is no base URL; write it as http://localhost:8080 or https://stoa.example.com`);
  }
  return text;
}

function checkedKey(given) {
  const key = String(given ?? environment.STOA_KEY ?? "").trim();
  if (!key) throw new TypeError("No key: pass {key}, or set STOA_KEY. `stoa keys create NAME` makes one.");
  if (!/^[\x21-\x7e]+$/.test(key)) throw new TypeError("The key holds characters that no key has; copy it again.");
  return key;
}
