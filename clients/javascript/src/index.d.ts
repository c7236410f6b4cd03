// The types of stoa-client. The API's objects are in types.d.ts.

import type * as types from "./types.js";

export type * from "./types.js";

export interface Options {
  /** Aborts the call, the stream and every wait between attempts. */
  signal?: AbortSignal;
}

export interface CreateOptions extends Options {
  /** Within 24 hours, the same key with the same request returns the first result. By default the client generates it. */
  idempotencyKey?: string;
}

export interface Retries {
  /** Attempts per call, including the first. */
  attempts?: number;
  firstSeconds?: number;
  secondsMax?: number;
  retryAfterSecondsMax?: number;
  /** A stream is resumed until nothing was received for this time. */
  reconnectSeconds?: number;
  /** How long a connection may be silent; the server sends a heartbeat every 15 s. */
  idleSeconds?: number;
  callSeconds?: number;
}

export interface StoaOptions {
  /** Defaults to STOA_URL, in a browser to the page's own origin. */
  url?: string;
  /** Defaults to STOA_KEY. null sends no key, for pages that are signed in by a cookie. */
  key?: string | null;
  retries?: Retries;
  fetch?: typeof globalThis.fetch;
  headers?: Record<string, string>;
  credentials?: RequestCredentials;
}

export interface PageFilters {
  page?: number;
  page_size?: number;
}

export interface SortedFilters extends PageFilters {
  sort?: string;
}

/** `cursor` is a page's `next_cursor`, and is used instead of `page`. */
export interface CursorFilters extends SortedFilters {
  cursor?: string;
}

export interface SendFields {
  model_id?: string;
  subagents_enabled?: boolean;
  tools?: string[];
  on_busy?: "reject" | "queue" | "interrupt";
  metadata?: Record<string, unknown>;
}

export interface RegenerateFields {
  model_id?: string;
  subagents_enabled?: boolean;
  tools?: string[];
}

export interface ConversationFilters extends CursorFilters {
  app_id?: string;
  model_id?: string;
  org_id?: string;
  user_id?: string;
  q?: string;
  pinned?: boolean;
}

export interface CreateConversation {
  model_id?: string;
  app_id?: string;
  title?: string;
  org_id?: string;
  user_id?: string;
  metadata?: Record<string, unknown>;
  agent?: types.Agent;
}

export interface UpdateConversation {
  title?: string | null;
  metadata?: Record<string, unknown> | null;
  model_id?: string;
  agent?: types.Agent | null;
  pinned?: boolean;
}

export interface ForkConversation {
  from_message_id?: string;
  title?: string;
  metadata?: Record<string, unknown>;
}

export interface RunFilters extends CursorFilters {
  status?: string | string[];
  conversation_id?: string;
  user_id?: string;
}

export interface KnowledgeBaseFields {
  description?: string;
  embedder?: types.EmbedderInput;
  chunking?: types.ChunkingInput;
  retriever?: types.RetrieverInput;
  language?: string;
  ocr?: "auto" | "off";
}

export interface CreateKnowledgeBase extends KnowledgeBaseFields {
  project_id?: string;
}

export interface UpdateKnowledgeBase extends Omit<KnowledgeBaseFields, "description"> {
  name?: string;
  description?: string | null;
}

export interface SearchFields {
  limit?: number;
  filters?: Record<string, unknown>;
  alpha?: number;
  mode?: "semantic" | "keyword" | "hybrid";
  similarity_threshold?: number;
  user?: string;
  groups?: string[];
  rerank?: boolean;
  explain?: boolean;
}

export interface ItemFilters extends SortedFilters {
  status?: string | string[];
  source_id?: string;
}

export interface TraceFilters extends PageFilters {
  project_id?: string;
  started_after?: string | Date;
  started_before?: string | Date;
  status?: string | string[];
  name?: string;
  model?: string;
  user_id?: string;
  session_id?: string;
  tag?: string;
  source_id?: string;
  wire?: string | string[];
  cost_usd_min?: number;
  cost_usd_max?: number;
  seconds_min?: number;
  seconds_max?: number;
  /** Words that must all occur in one step. */
  q?: string;
  cursor?: string;
}

export interface UsageFilters extends SortedFilters {
  group_by?: string;
  from?: string | Date;
  to?: string | Date;
  project_id?: string;
  key_id?: string;
  conversation_id?: string;
  run_id?: string;
  model?: string;
  user_id?: string;
  kind?: string;
  knowledgebase_id?: string;
}

export interface CreateKey {
  org_id?: string;
  project_id?: string;
  expires_at?: string;
  permissions?: string[];
  rate_limit?: number;
  spending_limit?: number | types.SpendingLimitInput;
  cache_seconds?: number;
  resumable_streams?: boolean;
}

export type Upload = File | { file: Blob; name: string };

export interface TextChange {
  delta: string;
  /** The complete text after the change. */
  text: string;
  /** After a recovery: the end of the previous text, to be removed. */
  discarded: string;
}

/** Each event of a run exactly once, in order, to the terminal event, even if connections break. */
export class Stream implements AsyncIterable<types.StoaEvent> {
  private constructor();
  readonly runId: string | null;
  readonly sequence: number;
  /** At the end: whether every event arrived exactly as it was written. null: it cannot be verified. */
  readonly verified: boolean | null;
  readonly terminal: types.RunCompleted | types.RunFailedEvent | types.RunCanceledEvent | null;
  readonly text: string;
  readonly lastChange: TextChange | null;
  [Symbol.asyncIterator](): AsyncGenerator<types.StoaEvent, void, undefined>;
  textChanges(): AsyncGenerator<TextChange, void, undefined>;
  output(): Promise<string>;
  close(): Promise<void>;
  cancel(): Promise<void>;
}

/** The steps of a trace, each again when it changes, until the trace ends. */
export class Tail implements AsyncIterable<types.Span> {
  private constructor();
  [Symbol.asyncIterator](): AsyncGenerator<types.Span, void, undefined>;
  close(): Promise<void>;
}

export class Page<T> implements AsyncIterable<T> {
  private constructor();
  readonly data: T[];
  readonly pagination: types.Pagination;
  readonly hasNext: boolean;
  nextPage(): Promise<Page<T> | null>;
  [Symbol.asyncIterator](): AsyncGenerator<T, void, undefined>;
}

export interface Conversations {
  list(filters?: ConversationFilters, options?: Options): Promise<Page<types.Conversation>>;
  create(fields: CreateConversation, options?: CreateOptions): Promise<types.Conversation>;
  get(conversationId: string, options?: Options): Promise<types.Conversation>;
  update(conversationId: string, fields: UpdateConversation, options?: Options): Promise<types.Conversation>;
  delete(conversationId: string, options?: Options): Promise<types.Deleted>;
  receipt(deletionId: string, options?: Options): Promise<types.Deletion>;
  waitForReceipt(deletionId: string, options?: Options & { secondsMax?: number }): Promise<types.Deletion>;
  fork(conversationId: string, fields?: ForkConversation, options?: CreateOptions): Promise<types.Conversation>;
  messages(conversationId: string, filters?: PageFilters, options?: Options): Promise<Page<types.Message>>;
  send(conversationId: string, content: types.Content, fields?: SendFields, options?: CreateOptions): Promise<Stream>;
  start(conversationId: string, content: types.Content, fields?: SendFields, options?: CreateOptions): Promise<types.Run>;
  regenerate(conversationId: string, fields?: RegenerateFields, options?: CreateOptions): Promise<Stream>;
  forks(conversationId: string, options?: Options): Promise<types.Conversation[]>;
  queue(conversationId: string, options?: Options): Promise<types.Queued[]>;
  unqueue(conversationId: string, runId: string, options?: Options): Promise<types.Acknowledgement>;
  uploadFile(conversationId: string, upload: Upload, options?: CreateOptions): Promise<types.File>;
  files(conversationId: string, filters?: SortedFilters, options?: Options): Promise<Page<types.File>>;
  getFile(fileId: string, options?: Options): Promise<types.File>;
  downloadFile(fileId: string, options?: Options): AsyncGenerator<Uint8Array, void, undefined>;
}

export interface Runs {
  list(filters?: RunFilters, options?: Options): Promise<Page<types.Run>>;
  get(runId: string, options?: Options): Promise<types.Run>;
  stream(runId: string, fields?: { after_sequence?: number }, options?: Options): Promise<Stream>;
  events(runId: string, filters?: PageFilters, options?: Options): Promise<Page<types.StoaEvent>>;
  cancel(runId: string, options?: Options): Promise<types.Acknowledgement>;
  answer(runId: string, requestId: string, feedback: string, options?: Options): Promise<types.Acknowledgement>;
  approve(
    runId: string,
    requestId: string,
    fields?: { params?: Record<string, unknown>; feedback?: string },
    options?: Options,
  ): Promise<types.Acknowledgement>;
  decline(
    runId: string,
    requestId: string,
    fields?: { feedback?: string },
    options?: Options,
  ): Promise<types.Acknowledgement>;
  toolCalls(runId: string, options?: Options): Promise<types.ToolCall[]>;
  callbacks(runId: string, options?: Options): Promise<types.Callback[]>;
  replayCallback(runId: string, callbackId: string, options?: Options): Promise<types.Acknowledgement>;
}

export interface KnowledgeBases {
  list(filters?: SortedFilters & { project_id?: string }, options?: Options): Promise<Page<types.KnowledgeBase>>;
  create(name: string, fields?: CreateKnowledgeBase, options?: CreateOptions): Promise<types.KnowledgeBase>;
  get(knowledgebaseId: string, options?: Options): Promise<types.KnowledgeBase>;
  update(knowledgebaseId: string, fields: UpdateKnowledgeBase, options?: Options): Promise<types.KnowledgeBase>;
  delete(knowledgebaseId: string, options?: Options): Promise<types.Deleted>;
  search(knowledgebaseId: string, query: string, fields?: SearchFields, options?: Options): Promise<types.SearchResult>;
  upload(
    knowledgebaseId: string,
    files: Upload[],
    fields?: { metadata?: Record<string, unknown>[]; ids?: string[] },
    options?: CreateOptions,
  ): Promise<types.Item[]>;
  items(knowledgebaseId: string, filters?: ItemFilters, options?: Options): Promise<Page<types.Item>>;
  wait(items: types.Item[], options?: Options & { secondsMax?: number }): Promise<types.Item[]>;
  getItem(itemId: string, options?: Options): Promise<types.Item>;
  updateItem(itemId: string, fields: { metadata: Record<string, unknown> }, options?: Options): Promise<types.Item>;
  deleteItem(itemId: string, options?: Options): Promise<types.Deleted>;
  reprocessItem(itemId: string, options?: Options): Promise<types.Item>;
  chunks(itemId: string, filters?: PageFilters, options?: Options): Promise<Page<types.Chunk>>;
  downloadItem(itemId: string, options?: Options): AsyncGenerator<Uint8Array, void, undefined>;
}

export class Stoa {
  constructor(options?: StoaOptions);
  readonly url: string;
  readonly conversations: Conversations;
  readonly runs: Runs;
  readonly knowledgeBases: KnowledgeBases;
  readonly models: { list(filters?: PageFilters, options?: Options): Promise<Page<types.Model>> };
  readonly traces: {
    list(filters?: TraceFilters, options?: Options): Promise<Page<types.Trace>>;
    aggregates(
      filters?: Omit<TraceFilters, "page" | "page_size" | "cursor"> & { group_by?: string | string[] },
      options?: Options,
    ): Promise<types.TraceAggregates>;
    get(traceId: string, fields?: { sequence?: number }, options?: Options): Promise<types.FullTrace>;
    tail(traceId: string, options?: Options): Promise<Tail>;
    diff(traceId: string, other: string, options?: Options): Promise<types.TraceDifference>;
    settings(fields?: { project_id?: string }, options?: Options): Promise<types.TraceSettings>;
    changeSettings(
      fields?: {
        project_id?: string;
        retention_days?: number;
        keep_forever?: boolean;
        export?: types.TraceExportInput;
      },
      options?: Options,
    ): Promise<types.TraceSettings>;
    delete(traceId: string, options?: Options): Promise<types.Deleted>;
  };
  readonly usage: { list(filters?: UsageFilters, options?: Options): Promise<Page<types.UsageLine>> };
  readonly keys: {
    list(filters?: SortedFilters, options?: Options): Promise<Page<types.AccessKey>>;
    create(name: string, fields?: CreateKey, options?: CreateOptions): Promise<types.CreatedAccessKey>;
    delete(
      keyId: string,
      fields?: { cascade?: boolean; dry_run?: boolean },
      options?: Options,
    ): Promise<types.Revocation>;
  };
  send(conversationId: string, content: types.Content, fields?: SendFields, options?: CreateOptions): Promise<Stream>;
  ask(conversationId: string, content: types.Content, fields?: SendFields, options?: CreateOptions): Promise<string>;
}

export class StoaError extends Error {}
export class ConnectionFailed extends StoaError {
  readonly sent: boolean;
}
export class APIError extends StoaError {
  readonly reason: string;
  readonly status: number;
  readonly code: string;
  readonly details: Record<string, string>;
  readonly requestId: string | null;
  readonly retryAfter: number | null;
}
export class BadRequestError extends APIError {}
export class UnauthorizedError extends APIError {}
export class ForbiddenError extends APIError {}
export class NotFoundError extends APIError {}
export class ConflictError extends APIError {
  readonly activeRunId: string | null;
}
export class TooLargeError extends APIError {}
export class UnsupportedMediaTypeError extends APIError {}
export class RateLimitedError extends APIError {}
export class UnavailableError extends APIError {}
export class ServerError extends APIError {}
export class StreamError extends StoaError {
  readonly runId: string | null;
  readonly sequence: number;
}
export class GapError extends StreamError {
  readonly expected: number;
  readonly received: number;
}
export class ProtocolError extends StreamError {}
export class IntegrityError extends StreamError {}
export class StreamLost extends StreamError {}
export class RunError extends StoaError {
  readonly runId: string;
}
export class RunFailed extends RunError {
  readonly code: string;
  readonly retryable: boolean;
}
export class RunCanceled extends RunError {
  readonly reason: string | null;
}

export const VERSION: string;
