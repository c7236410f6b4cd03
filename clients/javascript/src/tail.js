// The steps of a trace while it goes on, over as many connections as it takes.

import { APIError, ConnectionFailed, ProtocolError, StreamLost } from "./errors.js";
import { repeats } from "./retry.js";
import { Decoder } from "./sse.js";
import { EVENT_STREAM, path } from "./transport.js";

const now = () => Date.now() / 1000;
const text = new TextDecoder();

function tailCall(traceId, last, signal) {
  const headers = { Accept: EVENT_STREAM, ...(last ? { "Last-Event-ID": last } : {}) };
  return { method: "GET", path: path`/v1/traces/${traceId}/stream`, headers, signal };
}

/**
 * An iterator over a trace's steps as they come, to the end of the trace. A step comes again when it changes: replace it
 * by its `id`. A broken connection is resumed after the last step that was seen. `close()`, or leaving the loop, stops
 * reading.
 */
export class Tail {
  #transport;
  #traceId;
  #signal;
  #open;
  #last = ""; // the id of the last event, which the server goes on after
  #closed = false;
  #steps;

  constructor(transport, traceId, signal, open) {
    this.#transport = transport;
    this.#traceId = traceId;
    this.#signal = signal;
    this.#open = open;
    this.#steps = this.#follow();
  }

  static async open(transport, traceId, signal) {
    const open = await transport.answer(tailCall(traceId, "", signal), { stream: true });
    const kind = open.response.headers.get("Content-Type") ?? "";
    if (!kind.toLowerCase().startsWith(EVENT_STREAM)) {
      open.watch.abort();
      throw new ProtocolError(
        `${transport.url} answered with ${JSON.stringify(kind || "no content type")} instead of an event stream; ` +
          "look at the base URL, and for a proxy that answers by itself.",
      );
    }
    return new Tail(transport, traceId, signal, open);
  }

  [Symbol.asyncIterator]() {
    return this.#steps;
  }

  /** Stops reading. */
  async close() {
    this.#closed = true;
    this.#hangUp(); // Before `return`, which waits for a read that may be under way.
    await this.#steps.return();
  }

  async *#follow() {
    const { policy } = this.#transport;
    let failures = 0;
    let heard = now();
    while (!this.#closed) {
      let failure = null;
      const call = tailCall(this.#traceId, this.#last, this.#signal);
      try {
        this.#open ??= await this.#transport.attempt(call, { stream: true });
        const decoder = new Decoder();
        for await (const chunk of this.#transport.pieces(call, this.#open.response, this.#open.watch)) {
          heard = now();
          for (const frame of decoder.feed(chunk)) {
            this.#last = frame.id;
            if (frame.event === "end" || this.#closed) return;
            if (frame.event !== "span") continue;
            failures = 0;
            yield JSON.parse(text.decode(frame.data));
            heard = now(); // The reader may take its time; that is no silence of the server's.
          }
        }
      } catch (error) {
        this.#signal?.throwIfAborted();
        failure = this.#passing(error);
      } finally {
        this.#hangUp();
      }
      if (this.#closed) return;
      failures += 1;
      if (now() - heard > policy.reconnectSeconds) {
        const because = failure ? ` The last that was tried: ${failure.message ?? failure}` : "";
        const message = `Nothing was heard of trace ${this.#traceId} for ${policy.reconnectSeconds} s.${because}`;
        throw new StreamLost(message, { cause: failure });
      }
      await this.#transport.wait(failures, failure, this.#signal);
    }
  }

  /** The error, where trying again may help; otherwise throws it. */
  #passing(error) {
    if (error instanceof ConnectionFailed) return error;
    if (error instanceof APIError) {
      const { status, retryAfter } = error;
      if (repeats(this.#transport.policy, status, { safe: true, retryAfter })) return error;
    }
    throw error;
  }

  #hangUp() {
    this.#open?.watch.abort();
    this.#open = null;
  }
}
