// The state of reading one run's stream. No I/O: takes frames, returns events, and verifies the hash at the end.

import { GapError, ProtocolError } from "./errors.js";
import { Sha256 } from "./sha256.js";

const TERMINAL = new Set(["run.completed", "run.failed", "run.canceled"]);
const NEWLINE = Uint8Array.of(10);

/** The growing answer: the agent's own response text, without subagents', without text that a recovery discarded. */
export class AnswerText {
  #pieces = [];
  whole = "";

  /** The change by this event, if any: {delta, text, discarded}. */
  take(event) {
    if (event.type === "agent.response.delta" && !event.data.source && event.data.delta) {
      const { delta } = event.data;
      this.#pieces.push([event.sequence, delta]);
      this.whole += delta;
      return { delta, text: this.whole, discarded: "" };
    }
    if (event.type !== "run.recovered") return null;
    const before = this.whole;
    this.#pieces = this.#pieces.filter(([sequence]) => sequence < event.data.discard_from);
    this.whole = this.#pieces.map(([, delta]) => delta).join("");
    const discarded = before.slice(this.whole.length);
    return discarded ? { delta: "", text: this.whole, discarded } : null;
  }
}

/** Checks the sequence of a run's events: accepts the next one, skips those it has seen, and refuses a gap. */
export class Follower {
  #hash = new Sha256();
  // A byte order mark inside an event is data.
  #utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  constructor({ after = 0, runId = null } = {}) {
    this.beganAt = after;
    this.sequence = after;
    this.runId = runId;
    this.verified = null;
    this.terminal = null;
    this.text = new AnswerText();
    this.lastChange = null;
  }

  /** The event of this frame, or null if it was seen before. Throws GapError, ProtocolError. */
  take(frame) {
    const event = this.#parse(frame);
    const expected = this.sequence + 1;
    if (event.sequence < expected) return null;
    if (event.sequence > expected) throw new GapError({ expected, received: event.sequence, runId: this.runId });
    this.sequence = event.sequence;
    this.lastChange = this.text.take(event);
    if (TERMINAL.has(event.type)) {
      this.terminal = event;
      this.verified = this.#verify(event);
    } else {
      this.#hash.update(frame.data).update(NEWLINE);
    }
    if (this.runId === null && event.type === "run.started") this.runId = event.data.id;
    return event;
  }

  #parse(frame) {
    const shown = () => JSON.stringify(new TextDecoder().decode(frame.data.subarray(0, 80)));
    let event;
    try {
      event = JSON.parse(this.#utf8.decode(frame.data));
    } catch (cause) {
      throw this.#protocol(`An event is no JSON: ${shown()}`, cause);
    }
    if (event === null || typeof event !== "object" || Array.isArray(event)) {
      throw this.#protocol(`An event is no JSON object: ${shown()}`);
    }
    if (!Number.isInteger(event.sequence) || event.sequence < 1) {
      throw this.#protocol(`An event has no sequence: ${shown()}`);
    }
    if (event.data === null || typeof event.data !== "object" || Array.isArray(event.data)) {
      throw this.#protocol(`Event ${event.sequence} has no data: ${shown()}`);
    }
    return event;
  }

  #protocol(what, cause) {
    const message = `${what}. Look for a proxy that changes answers, and at the base URL.`;
    return new ProtocolError(message, { runId: this.runId, sequence: this.sequence, cause });
  }

  #verify(terminal) {
    const log = terminal.data.log;
    if (!log) return null;
    if (log.events !== terminal.sequence - 1) return false;
    return this.beganAt === 0 ? log.sha256 === this.#hash.hex() : null;
  }
}
