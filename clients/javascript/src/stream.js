// The events of a run, over as many connections as it takes.

import {
  APIError,
  ConnectionFailed,
  IntegrityError,
  ProtocolError,
  RunCanceled,
  RunFailed,
  StreamLost,
} from "./errors.js";
import { repeats } from "./retry.js";
import { Decoder } from "./sse.js";
import { EVENT_STREAM, path } from "./transport.js";

const now = () => Date.now() / 1000;

/**
 * An iterator over a run's events: each exactly once, in order, to the terminal event, whatever breaks between.
 *
 * A broken connection is resumed after the last event that was seen. GapError is thrown where an event is missing.
 * `verified` says at the end whether all came exactly as written. The run goes on when you stop reading (`close()`, or
 * leaving the loop); `cancel()` ends it.
 */
export class Stream {
  #transport;
  #follower;
  #call;
  #open;
  #nothingLeft;
  #events;

  constructor(transport, follower, call, open) {
    this.#transport = transport;
    this.#follower = follower;
    this.#call = call; // Opens the stream anew while the run's id is not known: it is safe to repeat.
    this.#open = open;
    this.#nothingLeft = open.response.status === 204;
    if (this.#nothingLeft) this.#hangUp();
    else this.#learnRun(open);
    this.#events = this.#follow();
  }

  static async open(transport, call, follower) {
    return new Stream(transport, follower, call, await transport.answer(call, { stream: true }));
  }

  get runId() {
    return this.#follower.runId;
  }

  /** The last event that was yielded. */
  get sequence() {
    return this.#follower.sequence;
  }

  /** null until the end, and where nothing can be said: the stream began in the middle, or the server sent no hash. */
  get verified() {
    return this.#follower.verified;
  }

  get terminal() {
    return this.#follower.terminal;
  }

  /** The answer as far as it has come; without what a recovered run has discarded. */
  get text() {
    return this.#follower.text.whole;
  }

  /** What the last event did to the text, {delta, text, discarded}, or null. */
  get lastChange() {
    return this.#follower.lastChange;
  }

  [Symbol.asyncIterator]() {
    return this.#events;
  }

  /** Stops reading. The run goes on. */
  async close() {
    this.#hangUp(); // Before `return`, which waits for a read that may be under way.
    this.#nothingLeft = true;
    await this.#events.return();
  }

  /** Ends the run; its terminal event is still to come. */
  async cancel() {
    if (this.runId === null) {
      throw new ProtocolError("The run's id is not known yet: read its first event before you cancel it.");
    }
    await this.#transport.json({ method: "POST", path: path`/v1/runs/${this.runId}/cancel` });
  }

  /** The answer's text as it changes: {delta, text, discarded}. After a recovery `discarded` is the text that is void. */
  async *textChanges() {
    for await (const _ of this) {
      const change = this.lastChange;
      if (change) yield change;
    }
  }

  /** Reads to the end and gives the whole answer. Throws RunFailed, RunCanceled, and IntegrityError where it is not what
   * the server wrote. */
  async output() {
    for await (const _ of this);
    const { terminal, sequence } = this;
    if (terminal === null) {
      throw new StreamLost("This stream was closed before the run ended.", { runId: this.runId, sequence });
    }
    const runId = this.runId ?? terminal.data.id;
    if (this.verified === false) {
      const message = `Not every event of run ${runId} came as it was written; read it again with runs.events("${runId}").`;
      throw new IntegrityError(message, { runId, sequence });
    }
    if (terminal.type === "run.failed") throw new RunFailed(terminal.data.error, runId);
    if (terminal.type === "run.canceled") throw new RunCanceled(terminal.data.reason, runId);
    return terminal.data.output;
  }

  // --- connections --------------------------------------------------------------------------------------------------
  async *#follow() {
    const { policy } = this.#transport;
    let failures = 0;
    let heard = now();
    while (this.terminal === null && !this.#nothingLeft) {
      let failure = null;
      try {
        this.#open ??= await this.#resume();
        const decoder = new Decoder();
        for await (const chunk of this.#transport.pieces(this.#call, this.#open.response, this.#open.watch)) {
          heard = now();
          for (const frame of decoder.feed(chunk)) {
            const event = this.#follower.take(frame);
            if (event !== null) {
              failures = 0;
              yield event;
              heard = now(); // The reader may take its time; that is no silence of the server's.
            }
            if (this.terminal !== null || this.#nothingLeft) return;
          }
        }
      } catch (error) {
        this.#call.signal?.throwIfAborted();
        failure = this.#passing(error);
      } finally {
        this.#hangUp();
      }
      if (this.#nothingLeft) return;
      failures += 1;
      if (now() - heard > policy.reconnectSeconds) throw this.#lost(failure);
      await this.#transport.wait(failures, failure, this.#call.signal);
    }
  }

  /** The error, where trying again may help; otherwise throws it. */
  #passing(error) {
    if (error instanceof APIError) {
      const { status, retryAfter } = error;
      if (repeats(this.#transport.policy, status, { safe: true, retryAfter })) return error;
      throw error;
    }
    if (error instanceof ConnectionFailed) return error;
    throw error;
  }

  /** The stream after the last event that was seen. */
  async #resume() {
    let call = this.#call;
    const { runId, sequence } = this;
    if (runId !== null) {
      const headers = { Accept: EVENT_STREAM, ...(sequence ? { "Last-Event-ID": String(sequence) } : {}) };
      call = { method: "GET", path: path`/v1/runs/${runId}/stream`, headers, signal: this.#call.signal };
    }
    const open = await this.#transport.attempt(call, { stream: true });
    if (open.response.status === 204) {
      open.watch.end();
      const message =
        `The server says that run ${runId} has ended, but its terminal event was never seen: something between lost ` +
        `it. runs.events("${runId}") reads the stored events.`;
      throw new ProtocolError(message, { runId, sequence });
    }
    this.#learnRun(open);
    return open;
  }

  #learnRun(open) {
    const kind = open.response.headers.get("Content-Type") ?? "";
    if (!kind.toLowerCase().startsWith(EVENT_STREAM)) {
      open.watch.abort();
      const message =
        `${this.#transport.url} answered with ${JSON.stringify(kind || "no content type")} instead of an event stream; ` +
        "look at the base URL, and for a proxy that answers by itself.";
      throw new ProtocolError(message, { runId: this.runId, sequence: this.sequence });
    }
    if (this.#follower.runId === null) this.#follower.runId = open.response.headers.get("Stoa-Run-Id");
  }

  #lost(failure) {
    const { runId, sequence } = this;
    const seconds = this.#transport.policy.reconnectSeconds;
    const because = failure ? ` The last that was tried: ${failure.message ?? failure}` : "";
    const message =
      `Nothing was heard of run ${runId ?? "(not begun)"} for ${seconds} s. It goes on without a reader: ` +
      `runs.stream("${runId}", {after_sequence: ${sequence}}) continues here.${because}`;
    return new StreamLost(message, { runId, sequence, cause: failure });
  }

  #hangUp() {
    this.#open?.watch.abort();
    this.#open = null;
  }
}
