// Sends requests, and retries them. All network access is here.

import * as errors from "./errors.js";
import { delay, repeats, retryAfterOf, sleep } from "./retry.js";

export const EVENT_STREAM = "text/event-stream";

const CLASSES = {
  400: errors.BadRequestError,
  401: errors.UnauthorizedError,
  403: errors.ForbiddenError,
  404: errors.NotFoundError,
  409: errors.ConflictError,
  413: errors.TooLargeError,
  415: errors.UnsupportedMediaTypeError,
  422: errors.BadRequestError,
  429: errors.RateLimitedError,
  503: errors.UnavailableError,
};
/** Node's error codes for a connection that was never made. Browsers do not report this. */
const NEVER_SENT = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "UND_ERR_CONNECT_TIMEOUT"]);

/** A path with ids. An id that would change the path is refused. */
export function path(parts, ...ids) {
  return String.raw(
    { raw: parts },
    ...ids.map((id) => {
      if (!id || /\//.test(id) || id === "." || id === "..") throw new TypeError(`${JSON.stringify(id)} is no id`);
      return encodeURIComponent(id);
    }),
  );
}

/** The header that makes it safe to repeat a POST. */
export function once(idempotencyKey) {
  return { "Idempotency-Key": idempotencyKey ?? uuid() };
}

/** A random UUID, also without `crypto.randomUUID`: Node 18 has no global `crypto`, plain HTTP pages no randomUUID. */
function uuid() {
  if (globalThis.crypto?.randomUUID) return globalThis.crypto.randomUUID();
  const bytes = new Uint8Array(16);
  if (globalThis.crypto?.getRandomValues) globalThis.crypto.getRandomValues(bytes);
  else for (let i = 0; i < 16; i++) bytes[i] = Math.floor(Math.random() * 256);
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [8, 12, 16, 20, 32].map((end, i, ends) => hex.slice(ends[i - 1] ?? 0, end)).join("-");
}

export class Transport {
  constructor({ url, headers, policy, fetch, credentials }) {
    this.url = url;
    this.headers = headers;
    this.policy = policy;
    this.credentials = credentials;
    this.fetch = fetch;
  }

  /** The JSON of the response, or null without a body. Throws APIError, ConnectionFailed. */
  async json(call) {
    const { text } = await this.answer(call);
    if (!text) return null;
    try {
      return JSON.parse(text);
    } catch (cause) {
      const message = `${this.url} answered ${call.method} ${call.path} with something that is no JSON; is that Stoa?`;
      throw new errors.StoaError(message, { cause });
    }
  }

  /** The response: {response, text}; with `stream`, {response, watch}, and the body is not read yet. */
  async answer(call, { stream = false } = {}) {
    for (let failures = 1; ; failures++) {
      try {
        return await this.attempt(call, { stream });
      } catch (error) {
        const refused = error instanceof errors.APIError;
        if (!refused && !(error instanceof errors.ConnectionFailed)) throw error;
        const { safe = true } = call;
        const again = refused
          ? repeats(this.policy, error.status, { safe, retryAfter: error.retryAfter })
          : safe || !error.sent;
        if (!again || failures >= this.policy.attempts) throw error;
        await this.wait(failures, error, call.signal);
      }
    }
  }

  /** Waits as long as Retry-After says, or by backoff. */
  wait(failures, error, signal) {
    const retryAfter = error instanceof errors.APIError ? error.retryAfter : null;
    return sleep(delay(this.policy, failures, retryAfter, Math.random()), signal);
  }

  /** One attempt. `idleSeconds` without data count as a lost connection. */
  async attempt(call, { stream = false } = {}) {
    const watch = new Watch(stream ? this.policy.idleSeconds : this.policy.callSeconds, call.signal);
    let response;
    let text = null;
    try {
      response = await this.fetch(this.url + call.path + query(call.query), {
        method: call.method,
        headers: { ...this.headers, ...body(call).headers, ...call.headers },
        body: body(call).content,
        redirect: "manual",
        cache: "no-store",
        credentials: this.credentials,
        signal: watch.signal,
      });
      if (!stream || !response.ok) text = await response.text();
    } catch (cause) {
      watch.end();
      call.signal?.throwIfAborted();
      throw this.lost(call, cause);
    }
    if (!response.ok) {
      watch.end();
      throw refusal(response, text, this.url);
    }
    if (stream) watch.pause();
    else watch.end();
    return { response, text, watch };
  }

  lost(call, cause) {
    const reason = cause?.cause?.code ?? cause?.cause?.message ?? cause?.message ?? String(cause);
    if (NEVER_SENT.has(cause?.cause?.code)) {
      const message = `No server answers at ${this.url} (${reason}). Is it running, and is the base URL right?`;
      return new errors.ConnectionFailed(message, { sent: false, cause });
    }
    const wayOut =
      (call.safe ?? true) ? "" : " It is not known whether it was carried out: look before you send it again.";
    const message = `The connection to ${this.url} broke before ${call.method} ${call.path} was answered (${reason}).${wayOut}`;
    return new errors.ConnectionFailed(message, { sent: true, cause });
  }

  /** A body in pieces, for content that may not fit in memory. It is not resumed. */
  async *download(call) {
    const { response, watch } = await this.answer(call, { stream: true });
    try {
      yield* this.pieces(call, response, watch);
    } finally {
      watch.abort();
    }
  }

  /** The chunks of a body. Throws ConnectionFailed. Not every browser can iterate over a body. */
  async *pieces(call, response, watch) {
    const reader = response.body.getReader();
    try {
      for (;;) {
        watch.touch();
        let read;
        try {
          read = await reader.read();
        } catch (cause) {
          call.signal?.throwIfAborted();
          throw this.lost(call, cause);
        }
        watch.pause();
        if (read.done) return;
        yield read.value;
      }
    } finally {
      watch.pause();
      reader.cancel().catch(() => {});
    }
  }
}

/** Aborts a request when it is silent for too long, or when its caller's signal aborts. */
class Watch {
  #controller = new AbortController();
  #timer = null;

  constructor(seconds, signal) {
    this.seconds = seconds;
    this.outer = signal;
    this.passOn = () => this.#controller.abort(signal.reason);
    if (signal?.aborted) this.passOn();
    else signal?.addEventListener("abort", this.passOn, { once: true });
    this.touch();
  }

  get signal() {
    return this.#controller.signal;
  }

  touch() {
    clearTimeout(this.#timer);
    const silent = () => this.#controller.abort(new Error(`nothing came for ${this.seconds} s`));
    this.#timer = setTimeout(silent, this.seconds * 1000);
  }

  /** Stops the timeout while the caller handles data. */
  pause() {
    clearTimeout(this.#timer);
  }

  end() {
    clearTimeout(this.#timer);
    this.outer?.removeEventListener("abort", this.passOn);
  }

  abort() {
    this.end();
    this.#controller.abort();
  }
}

function query(filters) {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(filters ?? {})) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null) pairs.append(name, one instanceof Date ? one.toISOString() : String(one));
    }
  }
  const text = pairs.toString();
  return text && `?${text}`;
}

function body(call) {
  if (call.form) return { content: call.form, headers: {} };
  if (call.body === undefined) return { content: undefined, headers: {} };
  return { content: JSON.stringify(call.body), headers: { "Content-Type": "application/json" } };
}

function refusal(response, text, url) {
  const { status } = response;
  let error = null;
  try {
    ({ error } = JSON.parse(text));
  } catch {
    // A proxy answered instead of the server.
  }
  const ours = typeof error?.code === "string";
  const Kind = CLASSES[status] ?? (status >= 500 ? errors.ServerError : errors.APIError);
  return new Kind(ours ? String(error.message) : withoutEnvelope(response, url), {
    status,
    code: ours ? error.code : "unknown",
    details: (ours && error.details) || {},
    requestId: response.headers.get("X-Request-Id"),
    retryAfter: retryAfterOf(response.headers.get("Retry-After")),
  });
}

function withoutEnvelope(response, url) {
  if (response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400)) {
    return `The server redirects to ${JSON.stringify(response.headers.get("Location"))}. Use that as the base URL`;
  }
  return `${url} answered without Stoa's error envelope; something before the server refused, or the base URL is not Stoa's`;
}
