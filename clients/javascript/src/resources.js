// The resources. Fields and filters have the names of the API. Fields that this version does not know are passed on.

import { StoaError } from "./errors.js";
import { Follower } from "./follow.js";
import { sleep } from "./retry.js";
import { Stream } from "./stream.js";
import { Tail } from "./tail.js";
import { EVENT_STREAM, once, path } from "./transport.js";

/** One page of a list. `for await` iterates over it and all further pages, and requests each when it is needed. */
export class Page {
  #transport;
  #call;

  constructor(transport, call, answer) {
    this.#transport = transport;
    this.#call = call;
    this.data = answer.data;
    this.pagination = answer.pagination;
  }

  static async get(transport, call) {
    return new Page(transport, call, await transport.json(call));
  }

  get hasNext() {
    return Boolean(this.pagination.next_cursor) || this.pagination.page < this.pagination.page_count;
  }

  /** The next page, or null. Uses the cursor if the list has one, so that nothing is repeated when the list grows. */
  async nextPage() {
    if (!this.hasNext) return null;
    const { page, cursor, ...others } = this.#call.query ?? {};
    const { next_cursor } = this.pagination;
    const following = next_cursor ? { cursor: next_cursor } : { page: this.pagination.page + 1 };
    return Page.get(this.#transport, { ...this.#call, query: { ...others, ...following } });
  }

  async *[Symbol.asyncIterator]() {
    for (let page = this; page !== null; page = await page.nextPage()) yield* page.data;
  }
}

class Resource {
  constructor(transport) {
    this.transport = transport;
  }

  async data(call) {
    return (await this.transport.json(call)).data;
  }

  page(where, query, { signal } = {}) {
    return Page.get(this.transport, { method: "GET", path: where, query, signal });
  }
}

function uploaded(form, name, file, fileName) {
  const named = fileName ?? file.name;
  if (named === undefined) throw new TypeError("A Blob has no name: give {file, name}.");
  form.append(name, file, named);
}

/** A File, or {file: Blob, name}. */
function addFile(form, name, upload) {
  if (upload instanceof Blob) uploaded(form, name, upload);
  else uploaded(form, name, upload.file, upload.name);
}

/** Parts in the API's format: a string becomes a text, an uploaded file a reference. */
function parts(content) {
  if (!Array.isArray(content)) return content;
  return content.map((part) => {
    if (typeof part === "string") return { type: "text", text: part };
    return part.type === undefined && part.id ? { type: "file", file: { id: part.id, name: part.name } } : part;
  });
}

export class Conversations extends Resource {
  /** Newest first. `q` searches titles and messages. */
  list(filters, options) {
    return this.page("/v1/conversations", filters, options);
  }

  /** Creates a conversation with a model (`models.list()`) or an app: exactly one of `model_id` and `app_id`. */
  create(fields, { idempotencyKey, signal } = {}) {
    const headers = once(idempotencyKey);
    return this.data({ method: "POST", path: "/v1/conversations", body: fields, headers, signal });
  }

  get(conversationId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/conversations/${conversationId}`, signal });
  }

  /** Changes only the given fields. null removes the title, metadata or agent. */
  update(conversationId, fields, { signal } = {}) {
    return this.data({ method: "PATCH", path: path`/v1/conversations/${conversationId}`, body: fields, signal });
  }

  /** Deletes it permanently, with its messages, runs, events, files and traces. `receipt(deletion_id)` is the proof. */
  delete(conversationId, { signal } = {}) {
    const where = path`/v1/conversations/${conversationId}`;
    return this.transport.json({ method: "DELETE", path: where, safe: false, signal });
  }

  /** What a deletion removed, by store. `verified_at` is set when a re-scan has found nothing left. */
  receipt(deletionId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/deletions/${deletionId}`, signal });
  }

  /** Waits until the receipt is verified, and returns it. */
  async waitForReceipt(deletionId, { secondsMax = 60, signal } = {}) {
    const deadline = Date.now() + secondsMax * 1000;
    for (;;) {
      const receipt = await this.receipt(deletionId, { signal });
      if (receipt.verified_at) return receipt;
      if (Date.now() > deadline) {
        throw new StoaError(`Deletion ${deletionId} is not verified after ${secondsMax} s; ask for it later.`);
      }
      await sleep(0.25, signal);
    }
  }

  /** Creates a conversation that shares the messages up to `from_message_id`, or all. */
  fork(conversationId, fields = {}, { idempotencyKey, signal } = {}) {
    const where = path`/v1/conversations/${conversationId}/fork`;
    return this.data({ method: "POST", path: where, body: fields, headers: once(idempotencyKey), signal });
  }

  /** Oldest first. */
  messages(conversationId, filters, options) {
    return this.page(path`/v1/conversations/${conversationId}/messages`, filters, options);
  }

  /** Sends a message; returns the stream of the run that answers it. A busy conversation throws ConflictError. */
  send(conversationId, content, fields = {}, { idempotencyKey, signal } = {}) {
    const where = path`/v3/conversations/${conversationId}/messages`;
    return this.#answered(where, { ...fields, content: parts(content) }, idempotencyKey, signal);
  }

  /** Answers the last message again. */
  regenerate(conversationId, fields = {}, { idempotencyKey, signal } = {}) {
    return this.#answered(path`/v1/conversations/${conversationId}/regenerate`, fields, idempotencyKey, signal);
  }

  #answered(where, fields, idempotencyKey, signal) {
    const headers = { Accept: EVENT_STREAM, ...once(idempotencyKey) };
    const call = { method: "POST", path: where, body: { ...fields, stream: true }, headers, signal };
    return Stream.open(this.transport, call, new Follower());
  }

  /** Sends a message without waiting: the run continues in the background. `runs.stream(run.id)` follows it. */
  start(conversationId, content, fields = {}, { idempotencyKey, signal } = {}) {
    const where = path`/v3/conversations/${conversationId}/messages`;
    const body = { ...fields, content: parts(content), background: true };
    return this.data({ method: "POST", path: where, body, headers: once(idempotencyKey), signal });
  }

  /** The tree of forks that contains this conversation: the original and all its forks, oldest first, at most 500.
   * `forked_from` is the origin of each. */
  forks(conversationId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/conversations/${conversationId}/forks`, signal });
  }

  /** Messages sent with on_busy: "queue" that wait, the next one first. */
  queue(conversationId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/conversations/${conversationId}/queue`, signal });
  }

  /** Removes a message from the queue. Throws ConflictError if its run has started. */
  unqueue(conversationId, runId, { signal } = {}) {
    const where = path`/v1/conversations/${conversationId}/queue/${runId}`;
    return this.transport.json({ method: "DELETE", path: where, safe: false, signal });
  }

  /** Uploads a file (a File, or {file: Blob, name}) that messages of this conversation can refer to. */
  uploadFile(conversationId, upload, { idempotencyKey, signal } = {}) {
    const form = new FormData();
    addFile(form, "file", upload);
    const where = path`/v1/conversations/${conversationId}/files`;
    return this.data({ method: "POST", path: where, form, headers: once(idempotencyKey), signal });
  }

  files(conversationId, filters, options) {
    return this.page(path`/v1/conversations/${conversationId}/files`, filters, options);
  }

  getFile(fileId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/files/${fileId}`, signal });
  }

  /** The file's bytes, in pieces: `for await (const piece of …)`. */
  downloadFile(fileId, { signal } = {}) {
    return this.transport.download({ method: "GET", path: path`/v1/files/${fileId}/content`, signal });
  }
}

export class Runs extends Resource {
  /** Newest first. `status` may be a list, and may be "awaiting_input". */
  list(filters, options) {
    return this.page("/v1/runs", filters, options);
  }

  get(runId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/runs/${runId}`, signal });
  }

  /** Follows a run from its first event, or after `after_sequence`; in that case the hash cannot be verified. */
  stream(runId, { after_sequence = 0 } = {}, { signal } = {}) {
    const where = path`/v1/runs/${runId}/stream`;
    const query = after_sequence ? { after_sequence } : {};
    const call = { method: "GET", path: where, query, headers: { Accept: EVENT_STREAM }, signal };
    return Stream.open(this.transport, call, new Follower({ after: after_sequence, runId }));
  }

  /** The events stored so far, in order. */
  events(runId, filters, options) {
    return this.page(path`/v1/runs/${runId}/events`, filters, options);
  }

  /** Cancels a run. After this resolves, no more events are written to it. Does nothing if the run has ended. */
  cancel(runId, { signal } = {}) {
    return this.transport.json({ method: "POST", path: path`/v1/runs/${runId}/cancel`, signal });
  }

  /** Answers a question of the run. A question can be answered once. */
  answer(runId, requestId, feedback, options) {
    return this.#input(runId, { type: "human_feedback", data: { request_id: requestId, feedback } }, options);
  }

  /** Approves a tool call. `params` changes its editable parameters. */
  approve(runId, requestId, fields = {}, options) {
    return this.#input(runId, { type: "approval", data: { ...fields, request_id: requestId, approved: true } }, options);
  }

  /** Declines a tool call. The model gets `feedback`. */
  decline(runId, requestId, fields = {}, options) {
    return this.#input(runId, { type: "approval", data: { ...fields, request_id: requestId, approved: false } }, options);
  }

  #input(runId, body, { signal } = {}) {
    // Not retried: the server accepts an answer once, and would refuse the repetition of one that had arrived.
    return this.transport.json({ method: "POST", path: path`/v1/runs/${runId}/input`, body, safe: false, signal });
  }

  /** The run's tool calls: each was recorded before it was made, with its outcome. */
  toolCalls(runId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/runs/${runId}/tool-calls`, signal });
  }

  /** The run's callbacks, each with its attempts. */
  callbacks(runId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/runs/${runId}/callbacks`, signal });
  }

  /** Sends it again with the same `webhook-id`, so that a receiver can recognise a repetition. */
  replayCallback(runId, callbackId, { signal } = {}) {
    const where = path`/v1/runs/${runId}/callbacks/${callbackId}/replay`;
    return this.transport.json({ method: "POST", path: where, safe: false, signal });
  }
}

export class KnowledgeBases extends Resource {
  list(filters, options) {
    return this.page("/v1/knowledgebases", filters, options);
  }

  /** Creates a knowledge base. Everything except the name has a default. */
  create(name, fields = {}, { idempotencyKey, signal } = {}) {
    const body = { ...fields, name };
    return this.data({ method: "POST", path: "/v1/knowledgebases", body, headers: once(idempotencyKey), signal });
  }

  get(knowledgebaseId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/knowledgebases/${knowledgebaseId}`, signal });
  }

  /** Changes only the given fields. The embedder, the chunking and the language can change only while it is empty. */
  update(knowledgebaseId, fields, { signal } = {}) {
    return this.data({ method: "PUT", path: path`/v1/knowledgebases/${knowledgebaseId}`, body: fields, signal });
  }

  /** Deletes it permanently, with its items, chunks, vectors and files. */
  delete(knowledgebaseId, { signal } = {}) {
    const where = path`/v1/knowledgebases/${knowledgebaseId}`;
    return this.transport.json({ method: "DELETE", path: where, safe: false, signal });
  }

  /** The best passages, best first: {data, explain?}. */
  search(knowledgebaseId, query, fields = {}, { signal } = {}) {
    const where = path`/v1/knowledgebases/${knowledgebaseId}/vector-search`;
    return this.transport.json({ method: "POST", path: where, body: { ...fields, query }, signal });
  }

  /** Uploads files (File, or {file: Blob, name}); the server processes them in the background, see `wait`. `metadata`
   * has one object per file. With `ids`, each file replaces the item of that id. */
  upload(knowledgebaseId, files, { metadata, ids } = {}, { idempotencyKey, signal } = {}) {
    const form = new FormData();
    for (const file of files) addFile(form, "files", file);
    if (metadata) form.append("input", JSON.stringify({ metadata }));
    if (ids) form.append("ids", JSON.stringify(ids));
    const where = path`/v1/knowledgebases/${knowledgebaseId}/upload`;
    return this.data({ method: "POST", path: where, form, headers: once(idempotencyKey), signal });
  }

  /** Newest first. */
  items(knowledgebaseId, filters, options) {
    return this.page(path`/v1/knowledgebases/${knowledgebaseId}/items`, filters, options);
  }

  /** Waits until each item is processed or has failed (then its `error` says why), and returns the items. */
  async wait(items, { secondsMax = 600, signal } = {}) {
    const deadline = Date.now() + secondsMax * 1000;
    const done = [];
    for (const item of items) {
      let current = item;
      for (let pause = 0.05; !["processed", "failed"].includes(current.status); pause = Math.min(pause * 1.5, 2)) {
        if (Date.now() > deadline) {
          throw new StoaError(
            `${current.name} is still ${current.status} after ${secondsMax} s; it goes on, so wait again.`,
          );
        }
        await sleep(pause, signal);
        current = await this.getItem(item.id, { signal });
      }
      done.push(current);
    }
    return done;
  }

  getItem(itemId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/knowledgebase-items/${itemId}`, signal });
  }

  updateItem(itemId, fields, { signal } = {}) {
    return this.data({ method: "PATCH", path: path`/v1/knowledgebase-items/${itemId}`, body: fields, signal });
  }

  /** Deletes it with its chunks, vectors and file. The next search does not find it. */
  deleteItem(itemId, { signal } = {}) {
    const where = path`/v1/knowledgebase-items/${itemId}`;
    return this.transport.json({ method: "DELETE", path: where, safe: false, signal });
  }

  reprocessItem(itemId, { signal } = {}) {
    return this.data({ method: "POST", path: path`/v1/knowledgebase-items/${itemId}/reprocess`, signal });
  }

  /** The chunks of an item, in order. Empty until it was processed. */
  chunks(itemId, filters, options) {
    return this.page(path`/v1/knowledgebase-items/${itemId}/chunks`, filters, options);
  }

  /** The file's bytes, in pieces: `for await (const piece of …)`. */
  downloadItem(itemId, { signal } = {}) {
    return this.transport.download({ method: "GET", path: path`/v1/knowledgebase-items/${itemId}/content`, signal });
  }
}

export class Models extends Resource {
  list(filters, options) {
    return this.page("/v1/router/models", filters, options);
  }
}

export class Traces extends Resource {
  /** Newest first. `started_after` and `started_before` limit the time of the start. */
  list({ started_after, started_before, ...filters } = {}, options) {
    const bounds = { "started_at:gte": started_after, "started_at:lte": started_before };
    return this.page("/v1/traces", { ...filters, ...bounds }, options);
  }

  /** Failures, percentiles, tokens and cost of the newest 10,000 traces that match the filters. */
  aggregates({ started_after, started_before, ...filters } = {}, { signal } = {}) {
    const query = { ...filters, "started_at:gte": started_after, "started_at:lte": started_before };
    return this.data({ method: "GET", path: "/v1/trace-aggregates", query, signal });
  }

  /** The trace with all steps. With the `sequence` of a run's event, only the steps that contain the event. */
  get(traceId, { sequence } = {}, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/traces/${traceId}`, query: { sequence }, signal });
  }

  /** Follows a running trace: yields each step, again when it changes, until the trace ends. */
  tail(traceId, { signal } = {}) {
    return Tail.open(this.transport, traceId, signal);
  }

  /** Compares two traces step by step; steps are paired by their position in the tree. */
  diff(traceId, other, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/traces/${traceId}/diff`, query: { other }, signal });
  }

  /** A project's retention of traces, and the destination and state of its export. */
  settings({ project_id } = {}, { signal } = {}) {
    return this.data({ method: "GET", path: "/v1/trace-settings", query: { project_id }, signal });
  }

  /** Replaces the settings. What is left out gets the server's default, except that headers are kept. */
  changeSettings({ project_id, ...fields } = {}, { signal } = {}) {
    return this.data({ method: "PUT", path: "/v1/trace-settings", query: { project_id }, body: fields, signal });
  }

  delete(traceId, { signal } = {}) {
    return this.transport.json({ method: "DELETE", path: path`/v1/traces/${traceId}`, safe: false, signal });
  }
}

export class Usage extends Resource {
  /** Sums by the fields of `group_by` ("day,model"), or one total. `from` and `to` default to the last 30 days. */
  list(filters, options) {
    return this.page("/v1/usage", filters, options);
  }
}

export class Keys extends Resource {
  list(filters, options) {
    return this.page("/v1/access-keys", filters, options);
  }

  /** Creates a key. Only this response contains the secret, in `key`. */
  create(name, fields = {}, { idempotencyKey, signal } = {}) {
    const body = { ...fields, name };
    return this.data({ method: "POST", path: "/v1/access-keys", body, headers: once(idempotencyKey), signal });
  }

  /** Revokes the key at once. `cascade` also revokes the keys that it created; `dry_run` only lists them. */
  delete(keyId, { cascade, dry_run } = {}, { signal } = {}) {
    const query = { cascade, dry_run };
    return this.transport.json({ method: "DELETE", path: path`/v1/access-keys/${keyId}`, query, safe: false, signal });
  }
}
