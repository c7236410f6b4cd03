// Decides whether to retry, and after how long.

/**
 * `attempts` counts the attempts of one call, including the first. A broken stream is resumed until nothing was
 * received for `reconnectSeconds`. `idleSeconds` is how long a connection may be silent (the server sends a heartbeat
 * every 15 s). A Retry-After above `retryAfterSecondsMax` is an error.
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

const REFUSED_FOR_NOW = new Set([429, 503]); // The server has not processed the request: any may be repeated.
const BROKEN = new Set([408, 500, 502, 504]); // The server may have processed the request.

/** Seconds before the next attempt: exponential backoff, half of it random, but at least Retry-After. */
export function delay(policy, failures, retryAfter, dice) {
  const backoff = Math.min(policy.firstSeconds * 2 ** Math.min(failures - 1, 30), policy.secondsMax);
  const jittered = backoff / 2 + (backoff / 2) * dice;
  return retryAfter === null ? jittered : retryAfter + Math.min(jittered, policy.firstSeconds);
}

/** Whether to retry after a response with this status. A 409 is retried if it has Retry-After. */
export function repeats(policy, status, { safe, retryAfter }) {
  if (retryAfter !== null && retryAfter > policy.retryAfterSecondsMax) return false;
  if (REFUSED_FOR_NOW.has(status)) return safe || retryAfter !== null;
  if (status === 409) return retryAfter !== null;
  return safe && BROKEN.has(status);
}

/** The seconds of a Retry-After, which has a number or a date. null if it cannot be parsed. */
export function retryAfterOf(value, now = Date.now()) {
  const text = (value ?? "").trim();
  if (!text) return null;
  if (/^\d+(\.\d*)?$/.test(text)) return Math.min(Number(text), 1e9);
  const date = Date.parse(text);
  return Number.isNaN(date) ? null : Math.max((date - now) / 1000, 0);
}

/** Waits. An aborted signal rejects it with the signal's reason. */
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
