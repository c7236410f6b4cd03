// An event stream, read over as many connections as it takes.

import { APIError, ConnectionFailed, ProtocolError } from "./errors.js";
import { repeats } from "./retry.js";
import { Decoder } from "./sse.js";
import { EVENT_STREAM } from "./transport.js";

const now = () => Date.now() / 1000;

/**
 * What iterators over event streams share. A broken connection is opened again after the last event that was seen, until
 * nothing was heard for `reconnectSeconds`. Who extends it says:
 *
 *   _again()        the call that opens the stream after the last event that was seen
 *   _take(frame)    what a frame holds, or null where the reader has no use for it
 *   _over()         whether nothing more is to come
 *   _lost(failure)  the error where nothing was heard for too long
 */
export class Reader {
  #transport;
  #open;
  #outer;
  #closing = new AbortController(); // ends a wait, and a connection that is being made
  #passOn;
  #items;

  constructor(transport, open, signal) {
    this.#transport = transport;
    this.#open = open;
    this.#outer = signal;
    this.#passOn = () => this.#closing.abort(signal.reason);
    signal?.addEventListener("abort", this.#passOn, { once: true });
    this.#items = this.#follow();
  }

  get transport() {
    return this.#transport;
  }

  [Symbol.asyncIterator]() {
    return this.#items;
  }

  /** Stops reading, and frees the connection; also while something waits for the next event, which then is the end. */
  async close() {
    this.#closing.abort();
    this.#hangUp(); // Before `return`, which waits for a read that may be under way.
    this.#forget();
    await this.#items.return();
  }

  _protocol(message) {
    return new ProtocolError(message);
  }

  /** Throws ProtocolError for an answer that is no event stream, and hangs up. */
  _check({ response, watch }) {
    const kind = response.headers.get("Content-Type") ?? "";
    if (kind.toLowerCase().startsWith(EVENT_STREAM)) return;
    watch.abort();
    throw this._protocol(
      `${this.#transport.url} answered with ${JSON.stringify(kind || "no content type")} instead of an event stream; ` +
        "look at the base URL, and for a proxy that answers by itself.",
    );
  }

  get #closed() {
    return this.#closing.signal.aborted && !this.#outer?.aborted;
  }

  async *#follow() {
    try {
      yield* this.#connections();
    } finally {
      this.#forget();
    }
  }

  async *#connections() {
    const { policy } = this.#transport;
    let failures = 0;
    let heard = now();
    while (!this.#closed && !this._over()) {
      let failure = null;
      const call = { ...this._again(), signal: this.#closing.signal };
      try {
        this.#open ??= await this.#resume(call);
        const decoder = new Decoder();
        for await (const chunk of this.#transport.pieces(call, this.#open.response, this.#open.watch)) {
          heard = now();
          for (const frame of decoder.feed(chunk)) {
            if (this.#closed) return;
            const item = this._take(frame);
            if (item !== null) {
              failures = 0;
              yield item;
              heard = now(); // The reader may take its time; that is no silence of the server's.
            }
            if (this._over()) return;
          }
        }
      } catch (error) {
        this.#outer?.throwIfAborted();
        if (this.#closed) return;
        failure = this.#passing(error);
      } finally {
        this.#hangUp();
      }
      if (this.#closed) return;
      failures += 1;
      if (now() - heard > policy.reconnectSeconds) throw this._lost(failure);
      await this.#wait(failures, failure);
    }
  }

  async #resume(call) {
    const open = await this.#transport.attempt(call, { stream: true });
    this._check(open);
    return open;
  }

  async #wait(failures, failure) {
    try {
      await this.#transport.wait(failures, failure, this.#closing.signal);
    } catch (error) {
      this.#outer?.throwIfAborted();
      if (!this.#closed) throw error;
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

  /** A signal may outlive many streams. */
  #forget() {
    this.#outer?.removeEventListener("abort", this.#passOn);
  }
}
