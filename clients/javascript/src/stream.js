// The stream of a run's events, which reconnects as often as necessary.

import { IntegrityError, ProtocolError, RunCanceled, RunFailed, StreamLost } from "./errors.js";
import { Reader } from "./reader.js";
import { EVENT_STREAM, path } from "./transport.js";

/**
 * An iterator over a run's events: each exactly once, in order, to the terminal event, even if connections break.
 *
 * A broken stream is resumed after the last event that was seen. GapError is thrown if an event is missing. `verified`
 * says at the end whether all events arrived exactly as they were written. The run continues if you stop reading
 * (`close()`, or leaving the loop); `cancel()` ends it.
 */
export class Stream extends Reader {
  #follower;
  #call;
  #nothingLeft;

  constructor(transport, follower, call, open) {
    super(transport, open, call.signal);
    this.#follower = follower;
    this.#call = call; // Reopens the stream while the run's id is not known. It is safe to repeat.
    this.#nothingLeft = open.response.status === 204;
    if (this.#nothingLeft) open.watch.abort();
    else this._check(open);
  }

  static async open(transport, call, follower) {
    return new Stream(transport, follower, call, await transport.answer(call, { stream: true }));
  }

  get runId() {
    return this.#follower.runId;
  }

  /** The sequence of the last event that was yielded. */
  get sequence() {
    return this.#follower.sequence;
  }

  /** null until the end, and if it cannot be verified: the stream began in the middle, or the server sent no hash. */
  get verified() {
    return this.#follower.verified;
  }

  get terminal() {
    return this.#follower.terminal;
  }

  /** The answer so far, without text that a recovered run has discarded. */
  get text() {
    return this.#follower.text.whole;
  }

  /** The change of the text by the last event, {delta, text, discarded}, or null. */
  get lastChange() {
    return this.#follower.lastChange;
  }

  /** Cancels the run. Its terminal event follows in this stream. */
  async cancel() {
    if (this.runId === null) {
      throw new ProtocolError("The run's id is not known yet: read its first event before you cancel it.");
    }
    await this.transport.json({ method: "POST", path: path`/v1/runs/${this.runId}/cancel` });
  }

  /** Yields the changes of the text, {delta, text, discarded}. `discarded` is text to remove after a recovery. */
  async *textChanges() {
    for await (const _ of this) {
      const change = this.lastChange;
      if (change) yield change;
    }
  }

  /** Reads to the end and returns the complete answer. Throws RunFailed, RunCanceled, and IntegrityError if the events
   * are not those that the server wrote. */
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
  _over() {
    return this.terminal !== null || this.#nothingLeft;
  }

  _take(frame) {
    return this.#follower.take(frame);
  }

  _again() {
    const { runId, sequence } = this;
    if (runId === null) return this.#call;
    const headers = { Accept: EVENT_STREAM, ...(sequence ? { "Last-Event-ID": String(sequence) } : {}) };
    return { method: "GET", path: path`/v1/runs/${runId}/stream`, headers };
  }

  /** Also reads the run's id from the headers. */
  _check(open) {
    const { runId } = this;
    if (open.response.status === 204) {
      open.watch.end();
      throw this._protocol(
        `The server says that run ${runId} has ended, but its terminal event was never seen: something between lost ` +
          `it. runs.events("${runId}") reads the stored events.`,
      );
    }
    super._check(open);
    if (runId === null) this.#follower.runId = open.response.headers.get("Stoa-Run-Id");
  }

  _protocol(message) {
    return new ProtocolError(message, { runId: this.runId, sequence: this.sequence });
  }

  _lost(failure) {
    const { runId, sequence } = this;
    const seconds = this.transport.policy.reconnectSeconds;
    const because = failure ? ` The last that was tried: ${failure.message ?? failure}` : "";
    const message =
      `Nothing was heard of run ${runId ?? "(not begun)"} for ${seconds} s. It goes on without a reader: ` +
      `runs.stream("${runId}", {after_sequence: ${sequence}}) continues here.${because}`;
    return new StreamLost(message, { runId, sequence, cause: failure });
  }
}
