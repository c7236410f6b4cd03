// The errors, and what to do about them. The hierarchy:
//
//   StoaError
//   ├── ConnectionFailed             no response; `sent` says whether the server may have processed the request
//   ├── APIError                     the server refused: status, code, message, details, requestId, retryAfter
//   │   ├── BadRequestError          400, 422   `details` names every bad field
//   │   ├── UnauthorizedError        401
//   │   ├── ForbiddenError           403
//   │   ├── NotFoundError            404        does not exist, or is outside the key's scope
//   │   ├── ConflictError            409        `activeRunId` if a conversation is busy
//   │   ├── TooLargeError            413
//   │   ├── UnsupportedMediaTypeError 415
//   │   ├── RateLimitedError         429
//   │   ├── UnavailableError         503
//   │   └── ServerError              any other 5xx
//   ├── StreamError                  `runId`, and `sequence`: the last event that was seen
//   │   ├── GapError                 an event is missing: `expected`, `received`
//   │   ├── ProtocolError            the response is not a stream of Stoa's events
//   │   ├── IntegrityError           the events differ from those that were written: the hash or the count is wrong
//   │   └── StreamLost               the stream could not be resumed in time
//   └── RunError                     the run ended without an answer
//       ├── RunFailed                `code`, `retryable`
//       └── RunCanceled              `reason`

export class StoaError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }
}

/**
 * No response arrived. `sent`: the server may have received the request, so check before you repeat a request that is
 * not idempotent.
 */
export class ConnectionFailed extends StoaError {
  constructor(message, { sent, cause }) {
    super(message, { cause });
    this.sent = sent;
  }
}

/** The server refused the request. `code` is stable, `reason` is for people, `details` maps a field to a reason. */
export class APIError extends StoaError {
  constructor(message, { status, code, details = {}, requestId = null, retryAfter = null }) {
    super(`${message} (HTTP ${status}, ${code}${requestId ? `, request ${requestId}` : ""})`);
    this.reason = message;
    this.status = status;
    this.code = code;
    this.details = details;
    this.requestId = requestId;
    this.retryAfter = retryAfter;
  }
}

export class BadRequestError extends APIError {}
export class UnauthorizedError extends APIError {}
export class ForbiddenError extends APIError {}
export class NotFoundError extends APIError {}
export class ConflictError extends APIError {
  /** The conversation's active run. Wait for it, cancel it, or send with on_busy: "queue". */
  get activeRunId() {
    return this.details.active_run_id ?? null;
  }
}
export class TooLargeError extends APIError {}
export class UnsupportedMediaTypeError extends APIError {}
export class RateLimitedError extends APIError {}
export class UnavailableError extends APIError {}
export class ServerError extends APIError {}

/** A run's stream is damaged or cannot be continued. The run itself continues: read it again by `runs.stream(id)`. */
export class StreamError extends StoaError {
  constructor(message, { runId = null, sequence = 0, cause } = {}) {
    super(message, { cause });
    this.runId = runId;
    this.sequence = sequence;
  }
}

export class GapError extends StreamError {
  constructor({ expected, received, runId }) {
    super(
      `Event ${received} came where event ${expected} was due: something between this client and the server loses ` +
        `events. What was yielded so far is right; runs.events(${JSON.stringify(runId)}) reads the stored events.`,
      { runId, sequence: expected - 1 },
    );
    this.expected = expected;
    this.received = received;
  }
}

export class ProtocolError extends StreamError {}
export class IntegrityError extends StreamError {}
export class StreamLost extends StreamError {}

export class RunError extends StoaError {
  constructor(message, runId) {
    super(message);
    this.runId = runId;
  }
}

/** `retryable`: the same message may succeed if it is sent again. */
export class RunFailed extends RunError {
  constructor(error, runId) {
    super(`${error.message} (${error.code})`, runId);
    this.code = error.code;
    this.retryable = Boolean(error.retryable);
  }
}

export class RunCanceled extends RunError {
  constructor(reason, runId) {
    super(`The run was canceled${reason ? `: ${reason}` : "."}`, runId);
    this.reason = reason ?? null;
  }
}
