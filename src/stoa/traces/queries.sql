-- name: claim_traces
-- Locks the rows of these traces, so that two requests with spans of one trace are serialized. New rows are inserted
-- with the sums of the request's own spans. $3 is a JSON list of rows; returns those that existed.
WITH rows AS (
    INSERT INTO traces AS t (
        org_id, project_id, id, wire, name, tags, head_id, head_started_at, head_status, started_at, ended_at,
        last_ended_at, status, source_id, session_id, user_id, models, span_count, root_count, open_count,
        failed_root_count,
        canceled_root_count, prompt_tokens, completion_tokens, cost_usd, received_at
    )
    SELECT $1, $2, n.id, $4, n.name, n.tags, n.head_id, n.head_started_at, n.head_status, n.started_at, n.ended_at,
           n.last_ended_at, n.status, n.source_id, n.session_id, n.user_id, n.models, n.span_count, n.root_count,
           n.open_count,
           n.failed_root_count, n.canceled_root_count, n.prompt_tokens, n.completion_tokens, n.cost_usd,
           clock_timestamp()
    FROM jsonb_to_recordset($3::jsonb) AS n (
        id text, name text, tags text[], head_id text, head_started_at timestamptz, head_status text,
        started_at timestamptz, ended_at timestamptz, last_ended_at timestamptz, status text,
        source_id text, session_id text, user_id text,
        models text[], span_count int, root_count int, open_count int, failed_root_count int, canceled_root_count int,
        prompt_tokens bigint, completion_tokens bigint, cost_usd numeric
    )
    ORDER BY n.id
    ON CONFLICT (org_id, project_id, id) DO UPDATE SET received_at = clock_timestamp()
    RETURNING t.*, t.xmax = 0 AS fresh
)
SELECT *, cost_usd::float8 AS cost FROM rows WHERE NOT fresh;

-- name: stored_spans
-- Which of these spans (traces in $3, ids in $4) exist. OFFSET 0: each is looked up in the index, even where the
-- planner's statistics still say that the table is empty.
SELECT i.trace_id, i.id, s.* FROM unnest($3::text[], $4::text[]) AS i (trace_id, id)
CROSS JOIN LATERAL (
    SELECT parent_id, name, status, started_at, ended_at, source_id, session_id, user_id, model, prompt_tokens,
           completion_tokens, cost_usd::float8 AS cost, tags
    FROM spans s WHERE s.org_id = $1 AND s.project_id = $2 AND s.trace_id = i.trace_id AND s.id = i.id OFFSET 0
) s;

-- name: store_spans
-- $3 is a JSON list of spans. A finished span is not replaced by an earlier, unfinished report of itself.
INSERT INTO spans AS s (
    org_id, project_id, trace_id, id, parent_id, wire, name, type, status, started_at, ended_at, source_id, session_id,
    user_id, model, prompt_tokens, completion_tokens, cost_usd, tags, body, received_at
)
SELECT $1, $2, n.trace_id, n.id, n.parent_id, n.wire, n.name, n.type, n.status, n.started_at, n.ended_at, n.source_id,
       n.session_id, n.user_id, n.model, n.prompt_tokens, n.completion_tokens, n.cost_usd, n.tags, n.body,
       clock_timestamp()
FROM jsonb_to_recordset($3::jsonb) AS n (
    trace_id text, id text, parent_id text, wire text, name text, type text, status text, started_at timestamptz,
    ended_at timestamptz, source_id text, session_id text, user_id text, model text, prompt_tokens bigint,
    completion_tokens bigint, cost_usd numeric, tags text[], body jsonb
)
ON CONFLICT (org_id, project_id, trace_id, id) DO UPDATE SET
    parent_id = EXCLUDED.parent_id, wire = EXCLUDED.wire, name = EXCLUDED.name, type = EXCLUDED.type,
    status = EXCLUDED.status, started_at = EXCLUDED.started_at, ended_at = EXCLUDED.ended_at,
    source_id = EXCLUDED.source_id, session_id = EXCLUDED.session_id, user_id = EXCLUDED.user_id,
    model = EXCLUDED.model, prompt_tokens = EXCLUDED.prompt_tokens, completion_tokens = EXCLUDED.completion_tokens,
    cost_usd = EXCLUDED.cost_usd, tags = EXCLUDED.tags, body = EXCLUDED.body, received_at = EXCLUDED.received_at
WHERE s.ended_at IS NULL OR EXCLUDED.ended_at IS NOT NULL;

-- name: update_traces
-- Updates existing rows of traces; $3 is a JSON list of them.
UPDATE traces t SET
    name = n.name, tags = n.tags, head_id = n.head_id, head_started_at = n.head_started_at, head_status = n.head_status,
    started_at = n.started_at, ended_at = n.ended_at, last_ended_at = n.last_ended_at, status = n.status,
    source_id = n.source_id,
    session_id = n.session_id, user_id = n.user_id, models = n.models, span_count = n.span_count,
    root_count = n.root_count, open_count = n.open_count, failed_root_count = n.failed_root_count,
    canceled_root_count = n.canceled_root_count, prompt_tokens = n.prompt_tokens,
    completion_tokens = n.completion_tokens, cost_usd = n.cost_usd
FROM jsonb_to_recordset($3::jsonb) AS n (
    id text, name text, tags text[], head_id text, head_started_at timestamptz, head_status text,
    started_at timestamptz, ended_at timestamptz, last_ended_at timestamptz, status text,
        source_id text, session_id text, user_id text,
    models text[], span_count int, root_count int, open_count int, failed_root_count int, canceled_root_count int,
    prompt_tokens bigint, completion_tokens bigint, cost_usd numeric
)
WHERE t.org_id = $1 AND t.project_id = $2 AND t.id = n.id;

-- name: sum_up_traces
-- Recomputes the rows of these traces from all their spans: the slow path, for changes that `sums` cannot derive from
-- the row and the new spans.
UPDATE traces t SET
    name = n.name, tags = n.tags, head_id = n.head_id, head_started_at = n.head_started_at, head_status = n.head_status,
    started_at = n.started_at, ended_at = n.ended_at, last_ended_at = n.last_ended_at,
    status = CASE WHEN n.status = '' THEN
        CASE WHEN n.head_status IN ('failed', 'canceled') THEN n.head_status ELSE 'succeeded' END ELSE n.status END,
    source_id = n.source_id,
    session_id = n.session_id, user_id = n.user_id, models = n.models, span_count = n.span_count,
    root_count = n.root_count, open_count = n.open_count, failed_root_count = n.failed_root_count,
    canceled_root_count = n.canceled_root_count, prompt_tokens = n.prompt_tokens,
    completion_tokens = n.completion_tokens, cost_usd = n.cost_usd
FROM unnest($3::text[]) AS i (id)
CROSS JOIN LATERAL (
    SELECT head.name, head.tags, head.id AS head_id, head.started_at AS head_started_at,
           head.status AS head_status, sums.* FROM (
        SELECT
            CASE WHEN bool_or(s.ended_at IS NULL) THEN NULL
                 WHEN NOT bool_or(s.parent_id IS NULL) THEN ''
                 WHEN bool_or(s.status = 'failed' AND s.parent_id IS NULL) THEN 'failed'
                 WHEN bool_or(s.status = 'canceled' AND s.parent_id IS NULL) THEN 'canceled'
                 ELSE 'succeeded' END AS status,
            min(s.started_at) AS started_at, max(s.ended_at) AS last_ended_at,
            CASE WHEN bool_or(s.ended_at IS NULL) THEN NULL ELSE max(s.ended_at) END AS ended_at,
            max(s.source_id COLLATE "C") AS source_id, max(s.session_id COLLATE "C") AS session_id,
            max(s.user_id COLLATE "C") AS user_id,
            (coalesce(array_agg(DISTINCT s.model COLLATE "C") FILTER (WHERE s.model IS NOT NULL), '{}'))[1:100]
                AS models,
            count(*) AS span_count, count(*) FILTER (WHERE s.parent_id IS NULL) AS root_count,
            count(*) FILTER (WHERE s.ended_at IS NULL) AS open_count,
            count(*) FILTER (WHERE s.status = 'failed' AND s.parent_id IS NULL) AS failed_root_count,
            count(*) FILTER (WHERE s.status = 'canceled' AND s.parent_id IS NULL) AS canceled_root_count,
            coalesce(sum(s.prompt_tokens), 0) AS prompt_tokens,
            coalesce(sum(s.completion_tokens), 0) AS completion_tokens, sum(s.cost_usd) AS cost_usd
        FROM spans s WHERE s.org_id = $1 AND s.project_id = $2 AND s.trace_id = i.id
    ) sums CROSS JOIN LATERAL (
        SELECT s.name, s.tags, s.id, s.started_at, s.status FROM spans s
        WHERE s.org_id = $1 AND s.project_id = $2 AND s.trace_id = i.id
        ORDER BY (s.parent_id IS NULL) DESC, s.started_at, s.id COLLATE "C" LIMIT 1
    ) head
) n
WHERE t.org_id = $1 AND t.project_id = $2 AND t.id = i.id;

-- name: use_indexes
-- For the rest of the transaction: lists read the newest rows in index order. Custom plans assume that row-level
-- security lets few runs through, and would sort all of them.
SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true);

-- name: sent_traces
-- The newest traces of a project that were sent ($14 contains sdk or otlp): a page of them, and all before the position
-- ($15, $16). It reads at most the $22 newest rows behind the cursor ($20, $21), whatever the filter; {sent_scope} is a
-- filter that an index serves, so only its matches count towards the limit.
SELECT t.* FROM (
    SELECT * FROM traces t
    WHERE t.org_id = $1 AND t.project_id = $2{sent_scope}
        AND t.started_at >= coalesce($3::timestamptz, '-infinity')
        AND t.started_at <= least($4::timestamptz, $20::timestamptz, 'infinity')
        AND ($20::timestamptz IS NULL OR t.started_at < $20 OR t.id COLLATE "C" > $21::text)
    ORDER BY t.started_at DESC, t.id COLLATE "C" LIMIT $22::bigint
) t
WHERE t.wire = ANY ($14::text[])
  AND ($5::text[] IS NULL OR coalesce(t.status, 'running') = ANY ($5)) AND ($6::text IS NULL OR t.name ILIKE $6)
  AND ($7::text IS NULL OR t.models @> ARRAY[$7]) AND ($8::text IS NULL OR t.user_id = $8)
  AND ($9::text IS NULL OR t.session_id = $9) AND ($10::text IS NULL OR t.tags @> ARRAY[$10])
  AND ($11::text IS NULL OR t.source_id = $11)
  AND ($12::float8 IS NULL OR t.cost_usd >= $12) AND ($17::float8 IS NULL OR t.cost_usd <= $17)
  AND ($13::float8 IS NULL OR extract(epoch FROM coalesce(t.ended_at, now()) - t.started_at) >= $13)
  AND ($18::float8 IS NULL OR extract(epoch FROM coalesce(t.ended_at, now()) - t.started_at) <= $18)
  AND ($19::text[] IS NULL OR t.name ILIKE ALL ($19) OR EXISTS (
      SELECT 1 FROM spans s WHERE s.org_id = $1 AND s.project_id = $2 AND s.trace_id = t.id
        AND (s.name ILIKE ALL ($19) OR s.body::text ILIKE ALL ($19))))
ORDER BY t.started_at DESC, t.id COLLATE "C" LIMIT $15::bigint + $16::bigint

-- name: own_runs
-- The same for Stoa's own runs ($14 contains stoa). The sums of their model and tool calls are read only where a filter
-- needs them.
SELECT r.id, r.project_id, {own_name} AS name, {own_status} AS shown, r.created_at, r.ended_at, r.app_id, r.session_id,
       r.user_id, r.conversation_id
FROM (
    SELECT r.* FROM runs r
    WHERE r.org_id = $1 AND r.project_id = $2{own_scope}
        AND r.created_at >= coalesce($3::timestamptz, '-infinity')
        AND r.created_at <= least($4::timestamptz, $20::timestamptz, 'infinity')
        AND ($20::timestamptz IS NULL OR r.created_at < $20 OR r.id::text COLLATE "C" > $21::text)
    ORDER BY r.created_at DESC, r.id::text COLLATE "C" LIMIT $22::bigint
) r
LEFT JOIN apps a ON a.org_id = $1 AND a.id = r.app_id
WHERE 'stoa' = ANY ($14::text[])
  AND ($5::text[] IS NULL OR coalesce({own_status}, 'running') = ANY ($5))
  AND ($6::text IS NULL OR {own_name} ILIKE $6)
  AND ($7::text IS NULL OR EXISTS (
      SELECT 1 FROM model_calls m WHERE m.org_id = $1 AND m.run_id = r.id AND m.model = $7))
  AND ($8::text IS NULL OR r.user_id = $8)
  AND ($9::text IS NULL OR r.session_id::text = $9) AND $10::text IS NULL
  AND ($11::text IS NULL OR r.app_id::text = $11)
  AND ($12::float8 IS NULL AND $17::float8 IS NULL OR (
      SELECT sum(m.cost_usd) BETWEEN coalesce($12::float8, '-infinity') AND coalesce($17::float8, 'infinity')
      FROM model_calls m WHERE m.org_id = $1 AND m.run_id = r.id))
  AND ($13::float8 IS NULL OR extract(epoch FROM coalesce(r.ended_at, now()) - r.created_at) >= $13)
  AND ($18::float8 IS NULL OR extract(epoch FROM coalesce(r.ended_at, now()) - r.created_at) <= $18)
  AND ($19::text[] IS NULL OR {own_name} ILIKE ALL ($19) OR r.input::text ILIKE ALL ($19)
       OR r.output ILIKE ALL ($19) OR r.error::text ILIKE ALL ($19)
       OR EXISTS (SELECT 1 FROM tool_calls t WHERE t.org_id = $1 AND t.run_id = r.id
                  AND (t.name ILIKE ALL ($19) OR t.input::text ILIKE ALL ($19) OR t.result ILIKE ALL ($19)))
       OR EXISTS (SELECT 1 FROM messages m WHERE m.org_id = $1 AND m.id = r.message_id
                  AND m.content::text ILIKE ALL ($19)))
ORDER BY r.created_at DESC, r.id::text COLLATE "C" LIMIT $15::bigint + $16::bigint

-- name: list_traces
-- A page of a project's traces, newest first: sent ones and Stoa's own runs.
SELECT * FROM (
    SELECT t.id, t.project_id, t.wire, t.name, t.status, t.started_at, t.ended_at, t.source_id, t.session_id,
           t.user_id, t.models, t.tags, t.span_count, t.root_count, t.prompt_tokens, t.completion_tokens,
           t.cost_usd::float8 AS cost_usd, NULL::uuid AS conversation_id
    FROM ({sent_traces}) t
    UNION ALL
    SELECT r.id::text, r.project_id, 'stoa', r.name, r.shown, r.created_at, r.ended_at, r.app_id::text,
           r.session_id::text, r.user_id, c.models, '{}'::text[], (1 + c.calls + tc.calls)::int, 1, c.prompt_tokens,
           c.completion_tokens, c.cost_usd, r.conversation_id
    FROM ({own_runs}) r
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(DISTINCT m.model), '{}') AS models, count(*) AS calls,
               coalesce(sum(m.prompt_tokens), 0) AS prompt_tokens,
               coalesce(sum(m.completion_tokens), 0) AS completion_tokens, sum(m.cost_usd)::float8 AS cost_usd
        FROM model_calls m WHERE m.org_id = $1 AND m.run_id = r.id
    ) c
    CROSS JOIN LATERAL (SELECT count(*) AS calls FROM tool_calls t WHERE t.org_id = $1 AND t.run_id = r.id) tc
) found
ORDER BY started_at DESC, id COLLATE "C" LIMIT $15 OFFSET $16;

-- name: count_traces
-- The number of traces that list_traces would show, within its reading limit.
SELECT count(*) FROM (SELECT FROM ({sent_traces}) t UNION ALL SELECT FROM ({own_runs}) r LIMIT $15) counted;

-- name: newest_traces
-- The newest traces of both kinds, without the sums of a run's calls.
SELECT * FROM (
    SELECT t.id, t.wire, t.name, t.status, t.started_at, t.ended_at, t.source_id, t.session_id, t.user_id,
           t.prompt_tokens, t.completion_tokens, t.cost_usd::float8 AS cost_usd, NULL::uuid AS run_id
    FROM ({sent_traces}) t
    UNION ALL
    SELECT r.id::text, 'stoa', r.name, r.shown, r.created_at, r.ended_at, r.app_id::text, r.session_id::text,
           r.user_id, NULL, NULL, NULL, r.id
    FROM ({own_runs}) r
) found
ORDER BY started_at DESC, id COLLATE "C" LIMIT $15

-- name: read_until
-- Where list_traces with these arguments stopped reading, and may have left out matches: the newer of the two
-- positions. No row where it read everything.
SELECT started_at, id FROM (
    (SELECT t.started_at, t.id FROM traces t
     WHERE t.org_id = $1 AND t.project_id = $2{sent_scope}
       AND t.started_at >= coalesce($3::timestamptz, '-infinity')
       AND t.started_at <= least($4::timestamptz, $6::timestamptz, 'infinity')
       AND ($6::timestamptz IS NULL OR t.started_at < $6 OR t.id COLLATE "C" > $7::text) AND $5::text[] && '{sdk,otlp}'
     ORDER BY t.started_at DESC, t.id COLLATE "C" LIMIT 1 OFFSET $8::bigint - 1)
    UNION ALL
    (SELECT r.created_at, r.id::text FROM runs r
     WHERE r.org_id = $1 AND r.project_id = $2{own_scope}
       AND r.created_at >= coalesce($3::timestamptz, '-infinity')
       AND r.created_at <= least($4::timestamptz, $6::timestamptz, 'infinity')
       AND ($6::timestamptz IS NULL OR r.created_at < $6 OR r.id::text COLLATE "C" > $7::text)
       AND 'stoa' = ANY ($5::text[])
     ORDER BY r.created_at DESC, r.id::text COLLATE "C" LIMIT 1 OFFSET $8::bigint - 1)
) parts
ORDER BY started_at DESC, id COLLATE "C" LIMIT 1;

-- name: trace
-- A trace that was sent. The database's clock computes the age of its newest span.
SELECT t.*, t.cost_usd::float8 AS cost, NULL::uuid AS conversation_id,
       extract(epoch FROM clock_timestamp() - t.received_at)::float8 AS quiet_seconds
FROM traces t
WHERE t.org_id = $1 AND t.id = $2 ORDER BY t.project_id LIMIT 1;

-- name: spans
-- Its spans in the order in which they began: limited by number and by bytes, but at least one. Bodies are returned as
-- text and parsed off the event loop.
SELECT trace_id, id, parent_id, wire, name, type, status, started_at, ended_at, source_id, session_id, user_id, model,
       prompt_tokens, completion_tokens, cost_usd::float8 AS cost, tags, body::text AS body, received_at
FROM (
    SELECT *, sum(octet_length(body::text)) OVER (ORDER BY started_at, id) - octet_length(body::text) AS bytes_before
    FROM (SELECT * FROM spans WHERE org_id = $1 AND project_id = $2 AND trace_id = $3
          ORDER BY started_at, id LIMIT $4) page
) sized WHERE bytes_before < $5 ORDER BY started_at, id;

-- name: spans_received
-- Spans that arrived after a moment, in the order of arrival.
SELECT trace_id, id, parent_id, wire, name, type, status, started_at, ended_at, source_id, session_id, user_id, model,
       prompt_tokens, completion_tokens, cost_usd::float8 AS cost, tags, body::text AS body, received_at
FROM spans WHERE org_id = $1 AND project_id = $2 AND trace_id = $3
  AND (received_at, id COLLATE "C") > ($4::timestamptz, $5::text)
ORDER BY received_at, id COLLATE "C" LIMIT $6;

-- name: own_progress
-- The last sequence of a run's journal, and whether the run has ended.
SELECT j.last_sequence, j.sealed, r.ended_at IS NOT NULL AS ended
FROM runs r JOIN journals j ON j.org_id = r.org_id AND j.run_id = r.id WHERE r.org_id = $1 AND r.id = $2;

-- name: aggregate
-- Aggregates newest_traces by the names in $23: number, outcomes, durations.
SELECT CASE WHEN 'day' = ANY ($23::text[]) THEN (started_at AT TIME ZONE 'UTC')::date::text END AS day,
       CASE WHEN 'name' = ANY ($23::text[]) THEN name END AS name,
       CASE WHEN 'wire' = ANY ($23::text[]) THEN wire END AS wire,
       CASE WHEN 'status' = ANY ($23::text[]) THEN coalesce(status, 'running') END AS status,
       CASE WHEN 'user_id' = ANY ($23::text[]) THEN user_id END AS user_id,
       CASE WHEN 'session_id' = ANY ($23::text[]) THEN session_id END AS session_id,
       CASE WHEN 'source_id' = ANY ($23::text[]) THEN source_id END AS source_id,
       NULL::text AS model,
       count(*) AS traces, count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE status IS NULL) AS running,
       sum(coalesce(found.prompt_tokens, c.prompt_tokens))::bigint AS prompt_tokens,
       sum(coalesce(found.completion_tokens, c.completion_tokens))::bigint AS completion_tokens,
       sum(coalesce(found.cost_usd, c.cost_usd)) AS cost_usd,
       percentile_cont(ARRAY[0.5, 0.9, 0.95, 0.99])
           WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - started_at)::float8)
           FILTER (WHERE ended_at IS NOT NULL) AS seconds,
       max(extract(epoch FROM ended_at - started_at)::float8) AS seconds_max
FROM ({newest_traces}) found
CROSS JOIN LATERAL (
    SELECT sum(m.prompt_tokens) AS prompt_tokens, sum(m.completion_tokens) AS completion_tokens,
           sum(m.cost_usd)::float8 AS cost_usd
    FROM model_calls m WHERE m.org_id = $1 AND m.run_id = found.run_id
) c
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY day DESC NULLS LAST, traces DESC, 2, 3, 4, 5, 6, 7 LIMIT $24;

-- name: aggregate_models
-- The same by model: tokens, cost and times are those of the steps that called it.
SELECT CASE WHEN 'day' = ANY ($23::text[]) THEN (found.started_at AT TIME ZONE 'UTC')::date::text END AS day,
       CASE WHEN 'name' = ANY ($23::text[]) THEN found.name END AS name,
       CASE WHEN 'wire' = ANY ($23::text[]) THEN found.wire END AS wire,
       CASE WHEN 'status' = ANY ($23::text[]) THEN coalesce(found.status, 'running') END AS status,
       CASE WHEN 'user_id' = ANY ($23::text[]) THEN found.user_id END AS user_id,
       CASE WHEN 'session_id' = ANY ($23::text[]) THEN found.session_id END AS session_id,
       CASE WHEN 'source_id' = ANY ($23::text[]) THEN found.source_id END AS source_id,
       used.model, count(DISTINCT found.id) AS traces, count(*) FILTER (WHERE used.status = 'failed') AS failed,
       count(*) FILTER (WHERE used.seconds IS NULL AND found.wire <> 'stoa') AS running,
       sum(used.prompt_tokens)::bigint AS prompt_tokens, sum(used.completion_tokens)::bigint AS completion_tokens,
       sum(used.cost_usd) AS cost_usd,
       percentile_cont(ARRAY[0.5, 0.9, 0.95, 0.99]) WITHIN GROUP (ORDER BY used.seconds)
           FILTER (WHERE used.seconds IS NOT NULL) AS seconds, max(used.seconds) AS seconds_max
FROM ({newest_traces}) found
CROSS JOIN LATERAL (
    SELECT s.model, s.status, s.prompt_tokens, s.completion_tokens, s.cost_usd::float8 AS cost_usd,
           extract(epoch FROM s.ended_at - s.started_at)::float8 AS seconds
    FROM spans s WHERE found.wire <> 'stoa' AND s.org_id = $1 AND s.project_id = $2 AND s.trace_id = found.id
      AND s.model IS NOT NULL
    UNION ALL
    SELECT m.model, NULL, m.prompt_tokens, m.completion_tokens, m.cost_usd::float8, NULL
    FROM model_calls m
    WHERE m.org_id = $1 AND m.run_id = found.run_id
) used
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY day DESC NULLS LAST, traces DESC, 8, 2, 3, 4, 5, 6, 7 LIMIT $24;

-- name: own_run
-- One of Stoa's own runs, as the root of a trace.
SELECT r.project_id, r.conversation_id, r.app_id, r.session_id, r.user_id, {own_status} AS status, {own_name} AS name,
       r.created_at, r.ended_at, coalesce(r.result, to_jsonb(r.output)) AS output, r.error, r.attempt,
       coalesce((SELECT m.content FROM messages m WHERE m.org_id = $1 AND m.id = r.message_id), r.input) AS input
FROM runs r LEFT JOIN apps a ON a.org_id = $1 AND a.id = r.app_id WHERE r.org_id = $1 AND r.id = $2;

-- name: own_model_calls
-- What a run's calls of models cost, in the order in which they ended.
SELECT id::text AS id, model, at, prompt_tokens, completion_tokens, cost_usd::float8 AS cost_usd, estimated
FROM model_calls WHERE org_id = $1 AND run_id = $2 ORDER BY at, id LIMIT $3;

-- name: own_tool_calls
SELECT id::text AS id, name, kind, status, begun_at, settled_at, input, result, error
FROM tool_calls WHERE org_id = $1 AND run_id = $2 ORDER BY begun_at, id LIMIT $3;

-- name: own_events
-- A run's events without deltas ($3 lists the types of deltas).
SELECT sequence, kind, payload FROM events
WHERE org_id = $1 AND run_id = $2 AND kind <> ALL ($3::smallint[]) ORDER BY sequence LIMIT $4;

-- name: own_replies
-- The deltas ($3 lists their types), grouped by speaker and reply.
SELECT (data -> 'source' ->> 'id') || coalesce('-' || (data -> 'source' ->> 'item'), '') AS source,
       data ->> 'tool_call_id' AS call, (data ->> 'iteration')::int AS iteration, min(sequence) AS first_sequence,
       max(sequence) AS last_sequence, min(at) AS begun_at, max(at) AS ended_at
FROM (
    SELECT sequence, p -> 'data' AS data, (p ->> 'timestamp')::timestamptz AS at FROM (
        SELECT sequence, convert_from(payload, 'UTF8')::jsonb AS p FROM events
        WHERE org_id = $1 AND run_id = $2 AND kind = ANY ($3::smallint[]) ORDER BY sequence LIMIT $4
    ) parsed
) pieces
WHERE data ? 'iteration'
GROUP BY 1, 2, 3;

-- name: own_event
SELECT sequence, kind, payload FROM events WHERE org_id = $1 AND run_id = $2 AND sequence = $3;

-- name: delete_spans
-- Up to $4 spans of a trace; returns the number of rows and bytes deleted.
WITH gone AS (
    DELETE FROM spans WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM spans WHERE org_id = $1 AND project_id = $2 AND trace_id = $3 LIMIT $4))
      AND org_id = $1 AND project_id = $2 AND trace_id = $3
    RETURNING octet_length(body::text) AS bytes
)
SELECT count(*) AS rows, coalesce(sum(bytes), 0)::bigint AS bytes FROM gone;

-- name: delete_trace
DELETE FROM traces WHERE org_id = $1 AND project_id = $2 AND id = $3 RETURNING id;

-- name: lock_trace
-- Held until the transaction ends. Spans that arrive meanwhile create the trace again.
SELECT id FROM traces WHERE org_id = $1 AND project_id = $2 AND id = $3 FOR UPDATE;

-- name: insert_deletion
INSERT INTO deletions (org_id, project_id, id, kind, subject_id, stores, created_by)
VALUES ($1, $2, $3, 'trace', $4, $5, $6);

-- name: left_over
-- What is left of a trace after its deletion; spans that arrived later ($4) do not count.
SELECT count(*) FROM spans s, deletions d
WHERE s.org_id = $1 AND s.project_id = $2 AND s.trace_id = $3 AND d.org_id = $1 AND d.id = $4
  AND s.received_at < d.created_at;

-- name: verified
UPDATE deletions SET verified_at = now() WHERE org_id = $1 AND id = $2 AND verified_at IS NULL;

-- name: expired
-- Traces without new spans for their project's retention time, of all tenants. $1 is the server's default in days;
-- NULL: forever.
SELECT e.org_id, e.project_id, e.id
FROM projects p
LEFT JOIN trace_settings s ON s.org_id = p.org_id AND s.project_id = p.id
CROSS JOIN LATERAL (
    SELECT t.org_id, t.project_id, t.id FROM traces t
    WHERE t.org_id = p.org_id AND t.project_id = p.id AND NOT coalesce(s.kept_forever, false)
      AND t.received_at < $3::timestamptz - coalesce(s.retention_days, $1::float8) * interval '1 day'
    ORDER BY t.received_at LIMIT $2 FOR UPDATE SKIP LOCKED
) e
LIMIT $2;

-- name: abandoned
-- Of all tenants.
-- Traces of projects that are gone.
SELECT t.org_id, t.project_id, t.id FROM traces t
WHERE NOT EXISTS (SELECT 1 FROM projects p WHERE p.org_id = t.org_id AND p.id = t.project_id)
LIMIT $1 FOR UPDATE SKIP LOCKED;

-- name: settings
-- A project's trace settings; no row where it has set none.
SELECT * FROM trace_settings WHERE org_id = $1 AND project_id = $2;

-- name: save_settings
-- $3 are the encrypted headers; they stay unchanged where $4 is false. A change makes a failed delivery due at once,
-- and a new export begins with runs that end from now on.
INSERT INTO trace_settings AS s (org_id, project_id, retention_days, kept_forever, export_url, export_headers,
    export_content, export_paused)
VALUES ($1, $2, $5, $6, $7, $3, $8, $9)
ON CONFLICT (org_id, project_id) DO UPDATE SET
    retention_days = $5, kept_forever = $6, export_url = $7,
    export_headers = CASE WHEN $4::boolean THEN $3 ELSE s.export_headers END,
    export_content = $8, export_paused = $9, export_attempt = 0, export_error = NULL, export_claim = NULL,
    export_not_before = now(), updated_at = now(),
    exported_until = CASE WHEN s.export_url IS NULL AND $7::text IS NOT NULL THEN now() ELSE s.exported_until END
RETURNING *;

-- name: begin_exports
-- Of all tenants.
-- Where the server exports all projects: inserts the missing rows.
INSERT INTO trace_settings (org_id, project_id)
SELECT p.org_id, p.id FROM projects p
WHERE NOT EXISTS (SELECT 1 FROM trace_settings s WHERE s.org_id = p.org_id AND s.project_id = p.id)
LIMIT 1000 ON CONFLICT DO NOTHING;

-- name: claim_exports
-- Of all tenants.
-- Projects whose exports are due, claimed for $2 seconds; the claim of a dead node expires. $3: whether the server has
-- an endpoint for projects that name none.
UPDATE trace_settings s SET export_claim = $1, export_not_before = now() + $2 * interval '1 second'
FROM (
    SELECT org_id, project_id FROM trace_settings
    WHERE NOT export_paused AND export_not_before <= now() AND (export_url IS NOT NULL OR $3::boolean)
    ORDER BY export_not_before LIMIT $4 FOR UPDATE SKIP LOCKED
) due
WHERE s.org_id = due.org_id AND s.project_id = due.project_id
RETURNING s.*;

-- name: settled_until
-- A moment before which no more runs can end: a run ends at its transaction's time, and all transactions of that time
-- have ended.
SELECT least(now(), min(xact_start)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid();

-- name: ended_runs
-- Runs of a project that ended after ($3, $4) and before $5, in the order in which they ended. Runs that are not stored
-- are left out; runs of signed-in users are marked.
SELECT id, ended_at, owner_id IS NOT NULL AS owned FROM runs
WHERE org_id = $1 AND project_id = $2 AND ended_at >= $3 AND ended_at < $5
  AND (ended_at, id) > ($3::timestamptz, $4::uuid)
  AND (options -> 'wanted' ->> 'store') IS DISTINCT FROM 'false'
ORDER BY ended_at, id LIMIT $6;

-- name: exported
-- A batch was delivered, or rejected for good. The export continues behind it, at once where there is more.
UPDATE trace_settings SET
    exported_until = $4, exported_run = $5, exported_spans = exported_spans + $6, refused_spans = refused_spans + $7,
    export_attempt = 0, export_error = $8, export_claim = NULL, export_not_before = now() + $9 * interval '1 second'
WHERE org_id = $1 AND project_id = $2 AND export_claim = $3 RETURNING project_id;

-- name: export_failed
UPDATE trace_settings SET
    export_attempt = export_attempt + 1, export_error = $4, export_claim = NULL,
    export_not_before = now() + $5 * interval '1 second'
WHERE org_id = $1 AND project_id = $2 AND export_claim = $3 RETURNING project_id;
