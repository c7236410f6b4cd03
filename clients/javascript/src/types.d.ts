// Written by tools/clients/declarations.py from the Python client's types; change those.
// Objects are what the server sent: fields that this version does not know are there too.

export interface EventOf<Type extends string, Data> {
  id: string;
  type: Type;
  sequence: number;
  timestamp: string;
  data: Data;
}

/** The sum over all calls of the model. `estimated` is true if a provider sent no counts; `cost_usd` is set if the price is known. */
export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  cached_tokens?: number;
  reasoning_tokens?: number;
  estimated?: boolean;
  cost_usd?: number;
  finish_reason?: string;
}

export interface ErrorDetail {
  code: string;
  message: string;
}

export interface RunErrorDetail {
  code: string;
  message: string;
  retryable: boolean;
}

export interface Pagination {
  page: number;
  page_size: number;
  page_count: number;
  total_count: number;
  total_count_estimated?: boolean;
  next_cursor?: string;
}

/** US dollars per million tokens. */
export interface ModelPrice {
  prompt: number;
  completion: number;
  cached?: number;
  cache_write?: number;
  source?: string;
  as_of?: string;
}

export interface Model {
  id: string;
  slug: string;
  name: string;
  provider: string;
  default: boolean;
  context_tokens: number;
  output_tokens?: number;
  capabilities: string[];
  source?: string;
  as_of?: string;
  price?: ModelPrice;
}

export interface ConversationModel {
  id: string;
  name: string;
  slug: string;
  provider: string;
}

/** The origin of a fork, until the origin is deleted. */
export interface Origin {
  conversation_id: string;
  message_id?: string;
}

export interface ConversationApp {
  id: string;
  name: string;
  description?: string;
}

export interface Conversation {
  id: string;
  title?: string;
  app_id?: string;
  app?: ConversationApp;
  session_id?: string;
  model_id?: string;
  model?: ConversationModel;
  user_id?: string;
  org_id: string;
  project_id: string;
  metadata?: Record<string, unknown>;
  agent?: Record<string, unknown>;
  active_run_id?: string;
  message_count: number;
  forked_from?: Origin;
  usage?: Usage;
  pinned_at?: string;
  created_at: string;
  updated_at: string;
}

export interface Message {
  id: string;
  conversation_id: string;
  role: "user" | "assistant";
  content: Record<string, unknown>[];
  status: "completed" | "failed" | "canceled";
  finish_reason?: string;
  run_id?: string;
  usage?: Usage;
  metadata?: Record<string, unknown>;
  superseded?: boolean;
  created_at: string;
}

export interface File {
  id: string;
  name: string;
  size: number;
  mime_type: string;
  conversation_id: string;
  status: "pending" | "ready" | "failed";
  pages?: number;
  warnings?: string[];
  error?: ErrorDetail;
  sha256: string;
  created_at: string;
}

/** Read the receipt with `conversations.receipt(deletion_id)`. */
export interface Deleted {
  message: string;
  deletion_id: string;
}

export interface Store {
  rows: number;
  bytes: number;
  anonymized?: boolean;
}

export interface Retained {
  messages: number;
  files: number;
  conversations: string[];
}

/** A receipt. `verified_at` is set when a re-scan has found nothing left. */
export interface Deletion {
  id: string;
  kind: string;
  subject_id: string;
  stores: Record<string, Store>;
  retained?: Retained;
  created_at: string;
  verified_at?: string;
  scrubbed_at?: string;
}

export interface Queued {
  run_id: string;
  position: number;
  content: Record<string, unknown>[];
  metadata?: Record<string, unknown>;
  created_at: string;
}

export interface InputRequest {
  id: string;
  type: "human_feedback" | "approval_request";
  prompt: string;
  params: Record<string, unknown>;
  editable_params: string[];
  options?: string[];
  expires_at: string;
}

export interface Run {
  id: string;
  app_id?: string;
  conversation_id: string;
  message_id: string;
  model_id?: string;
  status: "created" | "started" | "paused" | "completed" | "failed" | "canceled";
  created_at: string;
  started_at?: string;
  ended_at?: string;
  input: Record<string, unknown>;
  output?: string;
  result: unknown;
  finish_reason?: string;
  error?: RunErrorDetail;
  usage?: Usage;
  user_id?: string;
  session_id?: string;
  attempt: number;
  input_requests: InputRequest[];
}

export interface ToolCall {
  id: string;
  name: string;
  type: string;
  input: Record<string, unknown>;
  status: "begun" | "completed" | "failed" | "unknown";
  times: number;
  result?: string;
  error?: Record<string, unknown>;
  begun_at: string;
  settled_at?: string;
}

/** One POST. Without `ended_at` it is running, or its server died and it is not known whether it arrived. */
export interface CallbackAttempt {
  number: number;
  begun_at: string;
  ended_at?: string;
  status_code?: number;
  error?: Record<string, unknown>;
}

/** `webhook_id` is the header of that name, the same for every attempt and replay. */
export interface Callback {
  id: string;
  run_id: string;
  webhook_id: string;
  url: string;
  status: "waiting" | "pending" | "running" | "delivered" | "failed";
  metadata?: Record<string, unknown>;
  error?: Record<string, unknown>;
  next_attempt_at?: string;
  created_at: string;
  ended_at?: string;
  attempts: CallbackAttempt[];
}

/** `position` in the item starts at 0, `page` at 1. Search hits have the same `id`. */
export interface Chunk {
  id: string;
  position: number;
  page?: number;
  heading?: string;
  content: string;
}

export interface Embedder {
  provider: string;
  model: string;
  dimensions: number;
  connection_id?: string;
}

export interface Chunking {
  characters_max: number;
  tokens_max?: number;
}

export interface Reranker {
  provider: string;
  connection_id?: string;
  model?: string;
}

export interface Retriever {
  mode: string;
  alpha: number;
  top_k: number;
  reranker?: Reranker;
}

export interface Reindex {
  embedder: Embedder;
  chunking: Chunking;
  language: string;
  items: number;
  items_done: number;
  items_failed: number;
}

export interface KnowledgeBase {
  id: string;
  name: string;
  description?: string;
  project_id: string;
  hostname: string;
  url: string;
  embedder: Embedder;
  chunking: Chunking;
  retriever: Retriever;
  language: string;
  ocr: "auto" | "off";
  item_count: number;
  chunk_count: number;
  reindex?: Reindex;
  flow?: Record<string, unknown>;
  flow_ui?: Record<string, unknown>;
  runtime_id?: string;
  workflow_id?: string;
  workflow_version_id?: string;
  created_at: string;
  updated_at: string;
}

export interface Progress {
  pages?: number;
  pages_total?: number;
  chunks?: number;
  chunks_total?: number;
}

export interface Item {
  id: string;
  knowledgebase_id: string;
  name: string;
  status: "pending" | "processing" | "processed" | "failed";
  metadata: Record<string, unknown>;
  size: number;
  mime_type: string;
  sha256: string;
  searchable: boolean;
  progress?: Progress;
  warnings?: string[];
  error?: ErrorDetail;
  source_id?: string;
  uploaded_at: string;
  processed_at?: string;
}

/** `score` is between 0 and 1, comparable within one response. `snippet` is HTML with matched words in <mark>. */
export interface Hit {
  id: string;
  content: string;
  metadata: Record<string, unknown>;
  score: number;
  snippet?: string;
  explain?: Record<string, unknown>;
}

/** Best first. `explain` is set if it was requested. */
export interface SearchResult {
  data: Hit[];
  explain?: Record<string, unknown>;
}

export interface Trace {
  id: string;
  project_id: string;
  wire: "sdk" | "otlp" | "stoa";
  name: string;
  status?: "succeeded" | "failed" | "skipped" | "canceled";
  start_time: string;
  end_time?: string;
  duration_seconds?: number;
  source_id?: string;
  session_id?: string;
  user_id?: string;
  models: string[];
  tags: string[];
  run_count: number;
  root_count: number;
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  cost_usd?: number;
  conversation_id?: string;
}

/** A step of a trace. */
export interface Span {
  id: string;
  name: string;
  type: string;
  trace_id: string;
  parent_run_id?: string;
  source_id?: string;
  session_id?: string;
  user_id?: string;
  status?: string;
  start_time: string;
  end_time?: string;
  input: unknown;
  output: unknown;
  error: unknown;
  metadata?: Record<string, unknown>;
  executions?: unknown[];
  tags: string[];
  model?: string;
  prompt_tokens?: number;
  completion_tokens?: number;
  cost_usd?: number;
  attributes?: Record<string, unknown>;
}

export interface FullTrace {
  id: string;
  runs: Span[];
}

/** Percentiles of the durations of traces. */
export interface TraceSeconds {
  p50: number;
  p90: number;
  p95: number;
  p99: number;
  max: number;
}

/** The sums of one group of traces. */
export interface TraceAggregate {
  group: Record<string, string>;
  traces: number;
  failed: number;
  running: number;
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  cost_usd?: number;
  seconds?: TraceSeconds;
}

export interface TraceAggregates {
  groups: TraceAggregate[];
}

export interface ComparedStep {
  id: string;
  status?: string;
  duration_seconds?: number;
  model?: string;
  prompt_tokens?: number;
  completion_tokens?: number;
  cost_usd?: number;
}

/** A step of both traces, or of one of them; `changed` lists the differences. */
export interface TraceStepPair {
  depth: number;
  name: string;
  type: string;
  change: "same" | "changed" | "removed" | "added";
  changed: string[];
  left?: ComparedStep;
  right?: ComparedStep;
}

export interface TraceDifference {
  left_id: string;
  right_id: string;
  steps: TraceStepPair[];
}

/** The destination of a project's export of runs, and its state. */
export interface TraceExport {
  url?: string;
  content: boolean;
  paused: boolean;
  until: string;
  exported_spans: number;
  refused_spans: number;
  failures: number;
  error?: Record<string, unknown>;
}

export interface TraceSettings {
  project_id: string;
  retention_days?: number;
  keep_forever: boolean;
  export?: TraceExport;
}

/** A sum. The fields of `group_by` are set. */
export interface UsageLine {
  day?: string;
  model?: string;
  key_id?: string;
  project_id?: string;
  user_id?: string;
  conversation_id?: string;
  run_id?: string;
  kind?: "run" | "ocr";
  knowledgebase_id?: string;
  calls: number;
  prompt_tokens: number;
  cached_tokens: number;
  completion_tokens: number;
  reasoning_tokens: number;
  total_tokens: number;
  cost_usd: number;
  estimated_calls: number;
  unpriced_calls: number;
}

export interface SpendingLimit {
  usd: number;
  period: "day" | "month" | "total";
}

export interface AccessKey {
  id: string;
  org_id: string;
  project_id?: string;
  name: string;
  preview: string;
  permissions?: string[];
  expires_at?: string;
  created_by?: string;
  created_at: string;
  rate_limit?: number;
  spending_limit?: SpendingLimit;
  cache_seconds?: number;
  resumable_streams: boolean;
  successor_id?: string;
  last_used_at?: string;
}

/** `key` is the secret. Only the first response has it; a repetition with the same Idempotency-Key does not. */
export interface CreatedAccessKey extends AccessKey {
  key?: string;
}

export interface RevokedKey {
  id: string;
  name: string;
  preview: string;
  project_id?: string;
  created_by?: string;
}

export interface DependentTrigger {
  id: string;
  app_id: string;
  name: string;
}

export interface Revocation {
  message: string;
  revoked?: RevokedKey[];
  would_revoke?: RevokedKey[];
  triggers?: DependentTrigger[];
}

export interface Acknowledgement {
  message: string;
}

export interface Limits {
  iterations_max?: number;
  tokens_max?: number;
  cost_usd_max?: number;
  subagents_max?: number;
  subagent_depth_max?: number;
  input_seconds_max?: number;
}

export interface Subagent {
  name: string;
  description: string;
  instructions?: string;
  tools?: string[];
}

/** A memory of users across conversations. */
export interface AgentMemory {
  memory_id: string;
  strategy?: "all" | "relevant" | "both";
  limit?: number;
  scope?: "session" | "user";
}

/** The notes that the agent writes about a user. */
export interface AgentMemoryStore {
  id: string;
  write_enabled?: boolean;
}

/** Without `version_id` the newest version is used. */
export interface AgentSkill {
  id: string;
  version_id?: string;
}

/** The instructions of the model, its tools, and its limits. */
export interface Agent {
  instructions?: string;
  tools?: string[];
  approvals?: string[];
  knowledge_bases?: string[];
  human_feedback?: boolean;
  subagents?: Subagent[];
  output_schema?: Record<string, unknown>;
  limits?: Limits;
  memory?: boolean | AgentMemory;
  memory_store?: AgentMemoryStore;
  skills?: AgentSkill[];
  artifacts?: boolean;
}

export interface FileRef {
  id: string;
  name?: string;
}

export interface TextPart {
  type: "text";
  text: string;
}

export interface FilePart {
  type: "file";
  file: FileRef;
}

export interface EmbedderInput {
  provider: "local" | "server" | "connection";
  model: string;
  dimensions?: number;
  connection_id?: string;
}

export interface ChunkingInput {
  characters_max?: number;
}

export interface RerankerInput {
  provider: "server" | "connection";
  connection_id?: string;
  model?: string;
}

export interface RetrieverInput {
  mode?: "semantic" | "keyword" | "hybrid";
  alpha?: number;
  top_k?: number;
  reranker?: RerankerInput;
}

/** The complete URL of an OTLP endpoint, and its headers. */
export interface TraceExportInput {
  url: string;
  headers?: Record<string, string>;
  content?: boolean;
  paused?: boolean;
}

export interface SpendingLimitInput {
  usd: number;
  period: "day" | "month" | "total";
}

/** The number of events before the terminal event, and the SHA-256 over their data, each followed by a newline. */
export interface Log {
  events: number;
  sha256: string;
}

/** The origin of an event: a subagent or a node of a workflow. */
export interface Source {
  id: string;
  name: string;
  type: string;
}

export interface ToolRef {
  name: string;
  type: string;
}

/** `source` is set if the event comes from a subagent or a node of a workflow; `tool_call_id` is the call that started a subagent. */
export interface EventData {
  source?: Source;
  tool_call_id?: string;
}

export interface RunStartedData extends EventData {
  id: string;
  object: string;
  status: string;
  conversation_id?: string;
  message_id?: string;
}

export interface RunStatusData extends EventData {
  id: string;
  object: string;
  status: string;
}

/** Discard the response text of earlier events with `sequence >= discard_from`. */
export interface RunRecoveredData extends EventData {
  id: string;
  object: string;
  attempt: number;
  discard_from: number;
}

export interface RunCompletedData extends EventData {
  id: string;
  object: string;
  status: string;
  output: string;
  result: unknown;
  finish_reason?: string;
  usage: Usage;
  log?: Log;
}

export interface RunFailedData extends EventData {
  id: string;
  object: string;
  status: string;
  error: RunErrorDetail;
  usage: Usage;
  log?: Log;
}

export interface RunCanceledData extends EventData {
  id: string;
  object: string;
  status: string;
  reason?: string;
  usage: Usage;
  log?: Log;
}

export interface DeltaData extends EventData {
  object: string;
  delta: string;
  iteration?: number;
}

export interface ContextCompactedData extends EventData {
  object: string;
  messages_left_out: number;
  results_shortened: number;
  iteration: number;
  notice?: string;
}

export interface ToolCallStartedData extends EventData {
  id: string;
  object: string;
  tool: ToolRef;
  iteration: number;
}

export interface ToolCallInputDeltaData extends EventData {
  id: string;
  object: string;
  delta: string;
}

export interface ToolCallCompletedData extends EventData {
  id: string;
  object: string;
  tool: ToolRef;
  input: Record<string, unknown>;
  result: string;
  iteration: number;
}

export interface ToolCallFailedData extends EventData {
  id: string;
  object: string;
  tool: ToolRef;
  input: Record<string, unknown>;
  error: ErrorDetail;
  iteration: number;
}

export interface SubagentStartedData extends EventData {
  id: string;
  object: string;
  name: string;
  brief: string;
  parent_id?: string;
}

export interface SubagentCompletedData extends EventData {
  id: string;
  object: string;
  name: string;
  brief: string;
  parent_id?: string;
  result: string;
}

export interface SubagentFailedData extends EventData {
  id: string;
  object: string;
  name: string;
  brief: string;
  parent_id?: string;
  error: ErrorDetail;
}

/** A node of a workflow starts. `attempt` and `error` are set for a retry, `item` and `parent_id` inside a Map. */
export interface NodeStartedData extends EventData {
  id: string;
  object: string;
  name: string;
  type: string;
  attempt?: number;
  error?: ErrorDetail;
  item?: number;
  parent_id?: string;
}

export interface NodeCompletedData extends EventData {
  id: string;
  object: string;
  name: string;
  type: string;
  output: unknown;
  item?: number;
  parent_id?: string;
}

export interface NodeFailedData extends EventData {
  id: string;
  object: string;
  name: string;
  type: string;
  error: ErrorDetail;
  item?: number;
  parent_id?: string;
}

export interface NodeSkippedData extends EventData {
  id: string;
  object: string;
  name: string;
  type: string;
  reason: string;
  item?: number;
  parent_id?: string;
}

/** `id` is the request_id that `runs.answer` takes. */
export interface HumanFeedbackRequestedData extends EventData {
  id: string;
  object: string;
  prompt: string;
  options?: string[];
}

/** `id` is the request_id that `runs.approve` and `runs.decline` take. */
export interface ApprovalRequestCreatedData extends EventData {
  id: string;
  object: string;
  prompt: string;
  params: Record<string, unknown>;
  editable_params: string[];
}

export type RunStarted = EventOf<"run.started", RunStartedData>;
export type RunPaused = EventOf<"run.paused", RunStatusData>;
export type RunResumed = EventOf<"run.resumed", RunStatusData>;
export type RunRecovered = EventOf<"run.recovered", RunRecoveredData>;
export type RunCompleted = EventOf<"run.completed", RunCompletedData>;
export type RunFailedEvent = EventOf<"run.failed", RunFailedData>;
export type RunCanceledEvent = EventOf<"run.canceled", RunCanceledData>;
export type ResponseDelta = EventOf<"agent.response.delta", DeltaData>;
export type ReasoningDelta = EventOf<"agent.reasoning.delta", DeltaData>;
export type ContextCompacted = EventOf<"agent.context.compacted", ContextCompactedData>;
export type ToolCallStarted = EventOf<"agent.tool_call.started", ToolCallStartedData>;
export type ToolCallInputDelta = EventOf<"agent.tool_call.input.delta", ToolCallInputDeltaData>;
export type ToolCallCompleted = EventOf<"agent.tool_call.completed", ToolCallCompletedData>;
export type ToolCallFailed = EventOf<"agent.tool_call.failed", ToolCallFailedData>;
export type SubagentStarted = EventOf<"agent.subagent.started", SubagentStartedData>;
export type SubagentCompleted = EventOf<"agent.subagent.completed", SubagentCompletedData>;
export type SubagentFailed = EventOf<"agent.subagent.failed", SubagentFailedData>;
export type HumanFeedbackRequested = EventOf<"agent.human_feedback.requested", HumanFeedbackRequestedData>;
export type ApprovalRequestCreated = EventOf<"approval_request.created", ApprovalRequestCreatedData>;
export type NodeStarted = EventOf<"workflow.node.started", NodeStartedData>;
export type NodeCompleted = EventOf<"workflow.node.completed", NodeCompletedData>;
export type NodeFailed = EventOf<"workflow.node.failed", NodeFailedData>;
export type NodeSkipped = EventOf<"workflow.node.skipped", NodeSkippedData>;

/** A later server may send others: have a default. */
export type StoaEvent =
  | RunStarted
  | RunPaused
  | RunResumed
  | RunRecovered
  | RunCompleted
  | RunFailedEvent
  | RunCanceledEvent
  | ResponseDelta
  | ReasoningDelta
  | ContextCompacted
  | ToolCallStarted
  | ToolCallInputDelta
  | ToolCallCompleted
  | ToolCallFailed
  | SubagentStarted
  | SubagentCompleted
  | SubagentFailed
  | HumanFeedbackRequested
  | ApprovalRequestCreated
  | NodeStarted
  | NodeCompleted
  | NodeFailed
  | NodeSkipped;

/** A text, or parts: texts, uploaded files, or the API's own parts. */
export type Content = string | (string | File | TextPart | FilePart)[];
