// The resources. Fields and filters are the API's own, written as the server writes them; what this version does not
// know is passed on.

import { StoaError } from "./errors.js";
import { Follower } from "./follow.js";
import { sleep } from "./retry.js";
import { Stream } from "./stream.js";
import { Tail } from "./tail.js";
import { EVENT_STREAM, once, path } from "./transport.js";

/** One page of a list. `for await` goes through all that follow too, asking for each page as it is needed. */
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

  /** The page after this one, or null. By cursor where the list has them: nothing comes twice when the list grows. */
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

/** Parts as the API has them: a string is a text, an uploaded file is named. */
function parts(content) {
  if (!Array.isArray(content)) return content;
  return content.map((part) => {
    if (typeof part === "string") return { type: "text", text: part };
    return part.type === undefined && part.id ? { type: "file", file: { id: part.id, name: part.name } } : part;
  });
}

export class Conversations extends Resource {
  /** Newest first. `q` finds words in titles and messages. */
  list(filters, options) {
    return this.page("/v1/conversations", filters, options);
  }

  /** With a model (`models.list()`) or an app: exactly one of `model_id` and `app_id`. */
  create(fields, { idempotencyKey, signal } = {}) {
    const headers = once(idempotencyKey);
    return this.data({ method: "POST", path: "/v1/conversations", body: fields, headers, signal });
  }

  get(conversationId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/conversations/${conversationId}`, signal });
  }

  /** Only what is sent changes; null removes a title, metadata or the agent. */
  update(conversationId, fields, { signal } = {}) {
    return this.data({ method: "PATCH", path: path`/v1/conversations/${conversationId}`, body: fields, signal });
  }

  /** For good, with its messages, runs, events, files and traces. `receipt(deletion_id)` proves it. */
  delete(conversationId, { signal } = {}) {
    const where = path`/v1/conversations/${conversationId}`;
    return this.transport.json({ method: "DELETE", path: where, safe: false, signal });
  }

  /** What a deletion removed, store by store; `verified_at` once a re-scan found nothing left. */
  receipt(deletionId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/deletions/${deletionId}`, signal });
  }

  /** The receipt, once it is verified. */
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

  /** A new conversation that shares the messages up to `from_message_id`, or all. */
  fork(conversationId, fields = {}, { idempotencyKey, signal } = {}) {
    const where = path`/v1/conversations/${conversationId}/fork`;
    return this.data({ method: "POST", path: where, body: fields, headers: once(idempotencyKey), signal });
  }

  /** Oldest first. */
  messages(conversationId, filters, options) {
    return this.page(path`/v1/conversations/${conversationId}/messages`, filters, options);
  }

  /** Sends a message; gives the stream of the run that answers it. A busy conversation throws ConflictError. */
  send(conversationId, content, fields = {}, { idempotencyKey, signal } = {}) {
    const where = path`/v3/conversations/${conversationId}/messages`;
    return this.#answered(where, { ...fields, content: parts(content) }, idempotencyKey, signal);
  }

  /** Answers the last message once more. */
  regenerate(conversationId, fields = {}, { idempotencyKey, signal } = {}) {
    return this.#answered(path`/v1/conversations/${conversationId}/regenerate`, fields, idempotencyKey, signal);
  }

  #answered(where, fields, idempotencyKey, signal) {
    const headers = { Accept: EVENT_STREAM, ...once(idempotencyKey) };
    const call = { method: "POST", path: where, body: { ...fields, stream: true }, headers, signal };
    return Stream.open(this.transport, call, new Follower());
  }

  /** Sends a message and does not wait: the run goes on in the background. `runs.stream(run.id)` follows it. */
  start(conversationId, content, fields = {}, { idempotencyKey, signal } = {}) {
    const where = path`/v3/conversations/${conversationId}/messages`;
    const body = { ...fields, content: parts(content), background: true };
    return this.data({ method: "POST", path: where, body, headers: once(idempotencyKey), signal });
  }

  /** The tree of forks that it is in: where it began, and everything that was forked from that, the oldest first; at most
   * 500. `forked_from` says from which. */
  forks(conversationId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/conversations/${conversationId}/forks`, signal });
  }

  /** Messages sent with on_busy: "queue" that wait for their turn, the next one first. */
  queue(conversationId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/conversations/${conversationId}/queue`, signal });
  }

  /** Takes a message out of the queue. ConflictError once its turn has come. */
  unqueue(conversationId, runId, { signal } = {}) {
    const where = path`/v1/conversations/${conversationId}/queue/${runId}`;
    return this.transport.json({ method: "DELETE", path: where, safe: false, signal });
  }

  /** Adds a file that messages of this conversation may name: a File, or {file: Blob, name}. */
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
  /** Newest first. `status` may be several, and "awaiting_input". */
  list(filters, options) {
    return this.page("/v1/runs", filters, options);
  }

  get(runId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/runs/${runId}`, signal });
  }

  /** Follows a run from its first event, or from the one after `after_sequence`; then nothing can be verified. */
  stream(runId, { after_sequence = 0 } = {}, { signal } = {}) {
    const where = path`/v1/runs/${runId}/stream`;
    const query = after_sequence ? { after_sequence } : {};
    const call = { method: "GET", path: where, query, headers: { Accept: EVENT_STREAM }, signal };
    return Stream.open(this.transport, call, new Follower({ after: after_sequence, runId }));
  }

  /** The events that are stored so far, in order. */
  events(runId, filters, options) {
    return this.page(path`/v1/runs/${runId}/events`, filters, options);
  }

  /** Once this answers, nothing more is written to the run. No effect on a finished one. */
  cancel(runId, { signal } = {}) {
    return this.transport.json({ method: "POST", path: path`/v1/runs/${runId}/cancel`, signal });
  }

  /** Answers a question of the run, once. */
  answer(runId, requestId, feedback, options) {
    return this.#input(runId, { type: "human_feedback", data: { request_id: requestId, feedback } }, options);
  }

  /** Lets a tool call be made; `params` holds what changes, of its editable ones alone. */
  approve(runId, requestId, fields = {}, options) {
    return this.#input(runId, { type: "approval", data: { ...fields, request_id: requestId, approved: true } }, options);
  }

  /** Refuses a tool call; the model reads `feedback`. */
  decline(runId, requestId, fields = {}, options) {
    return this.#input(runId, { type: "approval", data: { ...fields, request_id: requestId, approved: false } }, options);
  }

  #input(runId, body, { signal } = {}) {
    // An answer is taken once: a repetition of one that had arrived would be refused.
    return this.transport.json({ method: "POST", path: path`/v1/runs/${runId}/input`, body, safe: false, signal });
  }

  /** The run's tool ledger: each call as it was entered before it was made, and what became of it. */
  toolCalls(runId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/runs/${runId}/tool-calls`, signal });
  }

  /** The run's callbacks, each with its attempts. */
  callbacks(runId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/runs/${runId}/callbacks`, signal });
  }

  /** Sends it once more, with the same `webhook-id`: a receiver that has seen it leaves it be. */
  replayCallback(runId, callbackId, { signal } = {}) {
    const where = path`/v1/runs/${runId}/callbacks/${callbackId}/replay`;
    return this.transport.json({ method: "POST", path: where, safe: false, signal });
  }
}

export class KnowledgeBases extends Resource {
  list(filters, options) {
    return this.page("/v1/knowledgebases", filters, options);
  }

  /** Everything but the name has a default that works. */
  create(name, fields = {}, { idempotencyKey, signal } = {}) {
    const body = { ...fields, name };
    return this.data({ method: "POST", path: "/v1/knowledgebases", body, headers: once(idempotencyKey), signal });
  }

  get(knowledgebaseId, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/knowledgebases/${knowledgebaseId}`, signal });
  }

  /** What is not sent stays. The embedder, the chunking and the language change only while the base is empty. */
  update(knowledgebaseId, fields, { signal } = {}) {
    return this.data({ method: "PUT", path: path`/v1/knowledgebases/${knowledgebaseId}`, body: fields, signal });
  }

  /** For good, with its items, chunks, vectors and files. */
  delete(knowledgebaseId, { signal } = {}) {
    const where = path`/v1/knowledgebases/${knowledgebaseId}`;
    return this.transport.json({ method: "DELETE", path: where, safe: false, signal });
  }

  /** The passages that answer, best first: {data, explain?}. */
  search(knowledgebaseId, query, fields = {}, { signal } = {}) {
    const where = path`/v1/knowledgebases/${knowledgebaseId}/vector-search`;
    return this.transport.json({ method: "POST", path: where, body: { ...fields, query }, signal });
  }

  /** Adds files (File, or {file: Blob, name}); they are read in the background, see `wait`. `metadata` holds an object
   * for each file; with `ids`, each file replaces that item. */
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

  /** These items, once each is processed or has failed: then its `error` says why. */
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

  /** With its chunks, vectors and file: the next search cannot find it. */
  deleteItem(itemId, { signal } = {}) {
    const where = path`/v1/knowledgebase-items/${itemId}`;
    return this.transport.json({ method: "DELETE", path: where, safe: false, signal });
  }

  reprocessItem(itemId, { signal } = {}) {
    return this.data({ method: "POST", path: path`/v1/knowledgebase-items/${itemId}/reprocess`, signal });
  }

  /** What searches find of an item: its text in chunks, in their order. Nothing until it was processed. */
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
  /** Newest first. `started_after` and `started_before` bound the start. */
  list({ started_after, started_before, ...filters } = {}, options) {
    const bounds = { "started_at:gte": started_after, "started_at:lte": started_before };
    return this.page("/v1/traces", { ...filters, ...bounds }, options);
  }

  /** What the newest 10,000 traces of the filters sum up to: failures, percentiles, tokens and cost. */
  aggregates({ started_after, started_before, ...filters } = {}, { signal } = {}) {
    const query = { ...filters, "started_at:gte": started_after, "started_at:lte": started_before };
    return this.data({ method: "GET", path: "/v1/trace-aggregates", query, signal });
  }

  /** All steps; with `sequence`, of an event of a run, the steps that it belongs to. */
  get(traceId, { sequence } = {}, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/traces/${traceId}`, query: { sequence }, signal });
  }

  /** Its steps while it goes on, each again when it changes, to the end of the trace. */
  tail(traceId, { signal } = {}) {
    return Tail.open(this.transport, traceId, signal);
  }

  /** Two traces step by step, paired by their place in the tree. */
  diff(traceId, other, { signal } = {}) {
    return this.data({ method: "GET", path: path`/v1/traces/${traceId}/diff`, query: { other }, signal });
  }

  /** How long a project keeps traces, where its runs are exported to, and how that stands. */
  settings({ project_id } = {}, { signal } = {}) {
    return this.data({ method: "GET", path: "/v1/trace-settings", query: { project_id }, signal });
  }

  /** Changes them as a whole: what is left out is as the server says. Headers that are left out stay. */
  changeSettings({ project_id, ...fields } = {}, { signal } = {}) {
    return this.data({ method: "PUT", path: "/v1/trace-settings", query: { project_id }, body: fields, signal });
  }

  delete(traceId, { signal } = {}) {
    return this.transport.json({ method: "DELETE", path: path`/v1/traces/${traceId}`, safe: false, signal });
  }
}

export class Usage extends Resource {
  /** Sums by what `group_by` names ("day,model"); without it, one sum. The last 30 days unless `from` and `to` say. */
  list(filters, options) {
    return this.page("/v1/usage", filters, options);
  }
}

export class Keys extends Resource {
  list(filters, options) {
    return this.page("/v1/access-keys", filters, options);
  }

  /** The answer alone holds the secret, in `key`. */
  create(name, fields = {}, { idempotencyKey, signal } = {}) {
    const body = { ...fields, name };
    return this.data({ method: "POST", path: "/v1/access-keys", body, headers: once(idempotencyKey), signal });
  }

  /** Revokes it at once. `cascade` takes along the keys that it made; `dry_run` only names them. */
  delete(keyId, { cascade, dry_run } = {}, { signal } = {}) {
    const query = { cascade, dry_run };
    return this.transport.json({ method: "DELETE", path: path`/v1/access-keys/${keyId}`, query, safe: false, signal });
  }
}
