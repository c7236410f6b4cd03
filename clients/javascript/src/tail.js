// The stream of a running trace's steps, which reconnects as often as necessary.

import { StreamLost } from "./errors.js";
import { Reader } from "./reader.js";
import { EVENT_STREAM, path } from "./transport.js";

const text = new TextDecoder();

function tailCall(traceId, last, signal) {
  const headers = { Accept: EVENT_STREAM, ...(last ? { "Last-Event-ID": last } : {}) };
  return { method: "GET", path: path`/v1/traces/${traceId}/stream`, headers, signal };
}

/**
 * An iterator over a trace's steps, until the trace ends. A step is yielded again when it changes: replace it by its
 * `id`. A broken stream is resumed after the last step that was seen. `close()`, or leaving the loop, stops reading.
 */
export class Tail extends Reader {
  #traceId;
  #last = ""; // the id of the last event, after which the server resumes
  #ended = false;

  constructor(transport, traceId, signal, open) {
    super(transport, open, signal);
    this.#traceId = traceId;
    this._check(open);
  }

  static async open(transport, traceId, signal) {
    const open = await transport.answer(tailCall(traceId, "", signal), { stream: true });
    return new Tail(transport, traceId, signal, open);
  }

  _over() {
    return this.#ended;
  }

  _take(frame) {
    this.#last = frame.id;
    this.#ended = frame.event === "end";
    if (frame.event !== "span") return null;
    const said = text.decode(frame.data);
    let step = null;
    try {
      step = JSON.parse(said);
    } catch {
      // Reported below.
    }
    if (step === null || typeof step !== "object" || Array.isArray(step)) {
      throw this._protocol(
        `A step of trace ${this.#traceId} is no JSON object: ${JSON.stringify(said.slice(0, 80))}. Look for a proxy that ` +
          "changes answers, and at the base URL.",
      );
    }
    return step;
  }

  _again() {
    return tailCall(this.#traceId, this.#last);
  }

  _lost(failure) {
    const seconds = this.transport.policy.reconnectSeconds;
    const because = failure ? ` The last that was tried: ${failure.message ?? failure}` : "";
    return new StreamLost(`Nothing was heard of trace ${this.#traceId} for ${seconds} s.${because}`, { cause: failure });
  }
}
