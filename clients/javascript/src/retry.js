// When to ask again, and after how long.

/**
 * `attempts` are those of one call, the first included. A stream that breaks is resumed until nothing at all was heard
 * for `reconnectSeconds`. `idleSeconds` is how long a stream may be silent (the server sends a heartbeat every 15 s).
 * A server that wants to be left alone for longer than `retryAfterSecondsMax` is an error.
 */
export const DEFAULTS = Object.freeze({
  attempts: 5,
  firstSeconds: 0.25,
  secondsMax: 8,
  retryAfterSecondsMax: 60,
  reconnectSeconds: 120,
  idleSeconds: 45,
  callSeconds: 60,
});

const REFUSED_FOR_NOW = new Set([429, 503]); // The server did nothing, and says so: any request may be repeated.
const BROKEN = new Set([408, 500, 502, 504]); // Whether something was done is not known.

/** Seconds before the next attempt: doubling, half of it by chance, never before Retry-After. */
export function delay(policy, failures, retryAfter, dice) {
  const backoff = Math.min(policy.firstSeconds * 2 ** Math.min(failures - 1, 30), policy.secondsMax);
  const jittered = backoff / 2 + (backoff / 2) * dice;
  return retryAfter === null ? jittered : retryAfter + Math.min(jittered, policy.firstSeconds);
}

/** Whether an answer with this status is asked for again. A 409 is, where it says when. */
export function repeats(policy, status, { safe, retryAfter }) {
  if (retryAfter !== null && retryAfter > policy.retryAfterSecondsMax) return false;
  if (REFUSED_FOR_NOW.has(status)) return safe || retryAfter !== null;
  if (status === 409) return retryAfter !== null;
  return safe && BROKEN.has(status);
}

/** Retry-After in seconds, given as a number or as a date; null where it says nothing that can be read. */
export function retryAfterOf(value, now = Date.now()) {
  const text = (value ?? "").trim();
  if (!text) return null;
  if (/^\d+(\.\d*)?$/.test(text)) return Math.min(Number(text), 1e9);
  const date = Date.parse(text);
  return Number.isNaN(date) ? null : Math.max((date - now) / 1000, 0);
}

/** Waits; an aborted signal ends it with the signal's reason. */
export function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const aborted = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", aborted);
      resolve();
    }, seconds * 1000);
    signal?.addEventListener("abort", aborted, { once: true });
  });
}
