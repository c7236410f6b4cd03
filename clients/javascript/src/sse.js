// Parses Server-Sent Events from bytes, as the HTML standard defines. It splits bytes into lines before it decodes
// them, because a chunk may end inside a character.

import { ProtocolError } from "./errors.js";

const LF = 10;
const CR = 13;
const BOM = [0xef, 0xbb, 0xbf];
const FRAME_BYTES_MAX = 256 * 1024 * 1024; // Larger than any event of a server.
const names = new TextDecoder();

/** Concatenates pieces of bytes. */
function joined(pieces) {
  if (pieces.length === 1) return pieces[0];
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** Takes chunks of bytes, returns complete frames. A frame without its closing empty line is never returned. */
export class Decoder {
  #rest = []; // the pieces of a line that has not ended
  #bytes = 0; // of the current frame
  #start = []; // the first bytes of the stream, as long as they may be a byte order mark
  #skipLf = false;
  #event = "";
  #data = [];
  #id = ""; // the last id of any event

  /** @param {Uint8Array} chunk @returns {{event: string, data: Uint8Array, id: string}[]} */
  feed(chunk) {
    const frames = [];
    let at = 0;
    if (this.#start !== null) {
      while (this.#start !== null && at < chunk.length) {
        if (chunk[at] !== BOM[this.#start.length]) {
          if (this.#start.length) this.#keep(Uint8Array.from(this.#start));
          this.#start = null;
        } else {
          this.#start.push(chunk[at++]);
          if (this.#start.length === BOM.length) this.#start = null;
        }
      }
    }
    let begin = at;
    for (; at < chunk.length; at++) {
      const byte = chunk[at];
      if (this.#skipLf) {
        this.#skipLf = false;
        if (byte === LF) {
          begin = at + 1;
          continue;
        }
      }
      if (byte !== LF && byte !== CR) continue;
      // A CR ends a line at once, without waiting for a possible LF, which is skipped when it arrives.
      this.#skipLf = byte === CR;
      const frame = this.#take(joined([...this.#rest, chunk.subarray(begin, at)]));
      this.#rest = [];
      if (frame) frames.push(frame);
      begin = at + 1;
    }
    if (begin < chunk.length) this.#keep(chunk.slice(begin));
    return frames;
  }

  #keep(piece) {
    this.#rest.push(piece);
    this.#bytes += piece.length;
    if (this.#bytes > FRAME_BYTES_MAX) {
      throw new ProtocolError(`An event is over ${FRAME_BYTES_MAX} bytes; this is not a stream of Stoa's events.`);
    }
  }

  #take(line) {
    if (line.length === 0) return this.#dispatch();
    let colon = line.indexOf(58);
    if (colon < 0) colon = line.length;
    if (colon !== 2 && colon !== 4 && colon !== 5) return null; // A comment or an unknown field.
    const name = names.decode(line.subarray(0, colon));
    const value = line.subarray(line[colon + 1] === 32 ? colon + 2 : colon + 1);
    // A run's events need no `id`: `sequence` is the same, and the hash covers it.
    if (name === "data") this.#data.push(value.slice());
    else if (name === "event") this.#event = names.decode(value);
    else if (name === "id" && !value.includes(0)) this.#id = names.decode(value);
    return null;
  }

  #dispatch() {
    this.#bytes = 0;
    const lines = this.#data;
    const event = this.#event;
    this.#data = [];
    this.#event = "";
    if (!lines.length) return null;
    const newline = Uint8Array.of(LF);
    return { event, data: joined(lines.flatMap((line, i) => (i ? [newline, line] : [line]))), id: this.#id };
  }
}
