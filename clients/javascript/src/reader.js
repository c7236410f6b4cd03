// Reads an event stream, and reconnects as often as necessary.

import { APIError, ConnectionFailed, ProtocolError } from "./errors.js";
import { repeats } from "./retry.js";
import { Decoder } from "./sse.js";
import { EVENT_STREAM } from "./transport.js";

const now = () => Date.now() / 1000;

/**
 * The base of iterators over event streams. After a broken connection it resumes after the last event that it has seen.
 * It gives up when it has received nothing for `reconnectSeconds`. Subclasses implement:
 *
 *   _again()        the call that resumes the stream after the last event that was seen
 *   _take(frame)    the value of a frame, or null if the reader ignores it
 *   _over()         whether the stream is complete
 *   _lost(failure)  the error after `reconnectSeconds` without data
 */
export class Reader {
  #transport;
  #open;
  #outer;
  #closing = new AbortController(); // ends a wait or a connection attempt
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

  /** Stops reading and releases the connection. If something is waiting for the next event, its iteration ends. */
  async close() {
    this.#closing.abort();
    this.#hangUp(); // Before `return`, which waits for a pending read.
    this.#forget();
    await this.#items.return();
  }

  _protocol(message) {
    return new ProtocolError(message);
  }

  /** If the response is not an event stream, disconnects and throws ProtocolError. */
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
              heard = now(); // The caller's time for an event does not count as silence.
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

  /** Returns the error if a retry may help, otherwise throws it. */
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

  /** Removes the listener, because the signal may outlive many streams. */
  #forget() {
    this.#outer?.removeEventListener("abort", this.#passOn);
  }
}
