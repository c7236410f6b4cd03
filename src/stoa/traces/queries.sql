-- name: claim_traces
-- Locks the rows of these traces, made where they are new with what the request's own spans sum up to: two requests with
-- spans of one trace come one after the other. $3 is a JSON list of rows; gives those that were there.
WITH rows AS (
    INSERT INTO traces AS t (
        org_id, project_id, id, wire, name, tags, head_id, head_started_at, started_at, ended_at, last_ended_at, status,
        source_id, session_id, user_id, models, span_count, root_count, open_count, failed_root_count,
        canceled_root_count, prompt_tokens, completion_tokens, cost_usd, received_at
    )
    SELECT $1, $2, n.id, $4, n.name, n.tags, n.head_id, n.head_started_at, n.started_at, n.ended_at, n.last_ended_at,
           n.status, n.source_id, n.session_id, n.user_id, n.models, n.span_count, n.root_count, n.open_count,
           n.failed_root_count, n.canceled_root_count, n.prompt_tokens, n.completion_tokens, n.cost_usd,
           clock_timestamp()
    FROM jsonb_to_recordset($3::jsonb) AS n (
        id text, name text, tags text[], head_id text, head_started_at timestamptz, started_at timestamptz,
        ended_at timestamptz, last_ended_at timestamptz, status text, source_id text, session_id text, user_id text,
        models text[], span_count int, root_count int, open_count int, failed_root_count int, canceled_root_count int,
        prompt_tokens bigint, completion_tokens bigint, cost_usd numeric
    )
    ORDER BY n.id
    ON CONFLICT (org_id, project_id, id) DO UPDATE SET received_at = clock_timestamp()
    RETURNING t.*, t.xmax = 0 AS fresh
)
SELECT *, cost_usd::float8 AS cost FROM rows WHERE NOT fresh;

-- name: stored_spans
-- Those of these spans (traces in $3, ids in $4) that are there. OFFSET 0: each is looked up in the index, whatever the
-- planner believes about a table that was empty when it looked.
SELECT i.trace_id, i.id, s.* FROM unnest($3::text[], $4::text[]) AS i (trace_id, id)
CROSS JOIN LATERAL (
    SELECT parent_id, name, status, started_at, ended_at, source_id, session_id, user_id, model, prompt_tokens,
           completion_tokens, cost_usd::float8 AS cost, tags
    FROM spans s WHERE s.org_id = $1 AND s.project_id = $2 AND s.trace_id = i.trace_id AND s.id = i.id OFFSET 0
) s;

-- name: store_spans
-- $3 is a JSON list of spans. A span that is finished is not replaced by an earlier report of itself.
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
-- Rows of traces that were there, with what they say now; $3 is a JSON list of them.
UPDATE traces t SET
    name = n.name, tags = n.tags, head_id = n.head_id, head_started_at = n.head_started_at, started_at = n.started_at,
    ended_at = n.ended_at, last_ended_at = n.last_ended_at, status = n.status, source_id = n.source_id,
    session_id = n.session_id, user_id = n.user_id, models = n.models, span_count = n.span_count,
    root_count = n.root_count, open_count = n.open_count, failed_root_count = n.failed_root_count,
    canceled_root_count = n.canceled_root_count, prompt_tokens = n.prompt_tokens,
    completion_tokens = n.completion_tokens, cost_usd = n.cost_usd
FROM jsonb_to_recordset($3::jsonb) AS n (
    id text, name text, tags text[], head_id text, head_started_at timestamptz, started_at timestamptz,
    ended_at timestamptz, last_ended_at timestamptz, status text, source_id text, session_id text, user_id text,
    models text[], span_count int, root_count int, open_count int, failed_root_count int, canceled_root_count int,
    prompt_tokens bigint, completion_tokens bigint, cost_usd numeric
)
WHERE t.org_id = $1 AND t.project_id = $2 AND t.id = n.id;

-- name: sum_up_traces
-- Brings the rows of these traces in step with all their spans: the slow way, for what `sums` cannot tell from the row
-- and the new spans.
UPDATE traces t SET
    name = n.name, tags = n.tags, head_id = n.head_id, head_started_at = n.head_started_at, started_at = n.started_at,
    ended_at = n.ended_at, last_ended_at = n.last_ended_at, status = n.status, source_id = n.source_id,
    session_id = n.session_id, user_id = n.user_id, models = n.models, span_count = n.span_count,
    root_count = n.root_count, open_count = n.open_count, failed_root_count = n.failed_root_count,
    canceled_root_count = n.canceled_root_count, prompt_tokens = n.prompt_tokens,
    completion_tokens = n.completion_tokens, cost_usd = n.cost_usd
FROM unnest($3::text[]) AS i (id)
CROSS JOIN LATERAL (
    SELECT head.name, head.tags, head.id AS head_id, head.started_at AS head_started_at, sums.* FROM (
        SELECT
            CASE WHEN bool_or(s.ended_at IS NULL) THEN NULL
                 WHEN bool_or(s.status = 'failed' AND s.parent_id IS NULL) THEN 'failed'
                 WHEN bool_or(s.status = 'canceled' AND s.parent_id IS NULL) THEN 'canceled'
                 ELSE 'succeeded' END AS status,
            min(s.started_at) AS started_at, max(s.ended_at) AS last_ended_at,
            CASE WHEN bool_or(s.ended_at IS NULL) THEN NULL ELSE max(s.ended_at) END AS ended_at,
            max(s.source_id COLLATE "C") AS source_id, max(s.session_id COLLATE "C") AS session_id,
            max(s.user_id COLLATE "C") AS user_id,
            (coalesce(array_agg(DISTINCT s.model COLLATE "C") FILTER (WHERE s.model IS NOT NULL), '{}'))[1:100] AS models,
            count(*) AS span_count, count(*) FILTER (WHERE s.parent_id IS NULL) AS root_count,
            count(*) FILTER (WHERE s.ended_at IS NULL) AS open_count,
            count(*) FILTER (WHERE s.status = 'failed' AND s.parent_id IS NULL) AS failed_root_count,
            count(*) FILTER (WHERE s.status = 'canceled' AND s.parent_id IS NULL) AS canceled_root_count,
            coalesce(sum(s.prompt_tokens), 0) AS prompt_tokens,
            coalesce(sum(s.completion_tokens), 0) AS completion_tokens, sum(s.cost_usd) AS cost_usd
        FROM spans s WHERE s.org_id = $1 AND s.project_id = $2 AND s.trace_id = i.id
    ) sums CROSS JOIN LATERAL (
        SELECT s.name, s.tags, s.id, s.started_at FROM spans s
        WHERE s.org_id = $1 AND s.project_id = $2 AND s.trace_id = i.id
        ORDER BY (s.parent_id IS NULL) DESC, s.started_at, s.id COLLATE "C" LIMIT 1
    ) head
) n
WHERE t.org_id = $1 AND t.project_id = $2 AND t.id = i.id;

-- name: list_traces
-- A page of a project's traces, the newest first: those that were sent ($14 has sdk or otlp), and those of Stoa's own
-- runs (stoa). Each part gives no more rows than the page needs.
SELECT * FROM (
    (SELECT t.id, t.project_id, t.wire, t.name, t.status, t.started_at, t.ended_at, t.source_id, t.session_id,
            t.user_id, t.models, t.tags, t.span_count, t.root_count, t.prompt_tokens, t.completion_tokens,
            t.cost_usd::float8 AS cost_usd, NULL::uuid AS conversation_id
     FROM traces t
     WHERE t.org_id = $1 AND t.project_id = $2 AND t.wire = ANY ($14::text[])
       AND ($3::timestamptz IS NULL OR t.started_at >= $3) AND ($4::timestamptz IS NULL OR t.started_at <= $4)
       AND ($5::text[] IS NULL OR coalesce(t.status, 'running') = ANY ($5)) AND ($6::text IS NULL OR t.name ILIKE $6)
       AND ($7::text IS NULL OR t.models @> ARRAY[$7]) AND ($8::text IS NULL OR t.user_id = $8)
       AND ($9::text IS NULL OR t.session_id = $9) AND ($10::text IS NULL OR t.tags @> ARRAY[$10])
       AND ($11::text IS NULL OR t.source_id = $11) AND ($12::float8 IS NULL OR t.cost_usd >= $12)
       AND ($13::float8 IS NULL OR extract(epoch FROM coalesce(t.ended_at, now()) - t.started_at) >= $13)
     ORDER BY t.started_at DESC, t.id LIMIT $15::int + $16::int)
    UNION ALL
    (SELECT r.id::text, r.project_id, 'stoa', 'Answer', {own_status}, r.created_at, r.ended_at, NULL, NULL, r.user_id,
            c.models, '{}'::text[], 1 + c.calls, 1, c.prompt_tokens, c.completion_tokens, c.cost_usd, r.conversation_id
     FROM runs r
     CROSS JOIN LATERAL (
         SELECT coalesce(array_agg(DISTINCT m.model), '{}') AS models, count(*)::int AS calls,
                coalesce(sum(m.prompt_tokens), 0) AS prompt_tokens,
                coalesce(sum(m.completion_tokens), 0) AS completion_tokens, sum(m.cost_usd)::float8 AS cost_usd
         FROM model_calls m WHERE m.org_id = $1 AND m.run_id = r.id
     ) c
     WHERE r.org_id = $1 AND r.project_id = $2 AND 'stoa' = ANY ($14::text[])
       AND ($3::timestamptz IS NULL OR r.created_at >= $3) AND ($4::timestamptz IS NULL OR r.created_at <= $4)
       AND ($5::text[] IS NULL OR coalesce({own_status}, 'running') = ANY ($5))
       AND ($6::text IS NULL OR 'Answer' ILIKE $6)
       AND ($7::text IS NULL OR c.models @> ARRAY[$7]) AND ($8::text IS NULL OR r.user_id = $8)
       AND $9::text IS NULL AND $10::text IS NULL AND $11::text IS NULL AND ($12::float8 IS NULL OR c.cost_usd >= $12)
       AND ($13::float8 IS NULL OR extract(epoch FROM coalesce(r.ended_at, now()) - r.created_at) >= $13)
     ORDER BY r.created_at DESC, r.id LIMIT $15::int + $16::int)
) found
ORDER BY started_at DESC, id LIMIT $15 OFFSET $16;

-- name: trace
-- A trace that was sent.
SELECT t.*, t.cost_usd::float8 AS cost, NULL::uuid AS conversation_id FROM traces t
WHERE t.org_id = $1 AND t.id = $2 ORDER BY t.project_id LIMIT 1;

-- name: spans
-- Its spans in the order in which they began.
SELECT *, cost_usd::float8 AS cost FROM spans
WHERE org_id = $1 AND project_id = $2 AND trace_id = $3 ORDER BY started_at, id LIMIT $4;

-- name: own_run
-- A run of Stoa's own, as the root of a trace.
SELECT r.project_id, r.conversation_id, r.user_id, {own_status} AS status, r.created_at, r.ended_at, r.output, r.error,
       r.usage, (SELECT m.content FROM messages m WHERE m.org_id = $1 AND m.id = r.message_id) AS input
FROM runs r WHERE r.org_id = $1 AND r.id = $2;

-- name: own_calls
-- The calls of models and tools of a run, in the order in which they ended. A call of a model is entered when it ends:
-- it began when what came before it had ended.
SELECT kind, id, name, status, ended_at, input, output, error, prompt_tokens, completion_tokens, cost_usd,
       coalesce(begun_at, lag(ended_at) OVER (ORDER BY ended_at, kind, id)) AS started_at
FROM (
    SELECT 'llm' AS kind, id::text AS id, model AS name, 'succeeded' AS status, NULL::timestamptz AS begun_at,
           at AS ended_at, NULL::jsonb AS input, NULL::text AS output, NULL::jsonb AS error, prompt_tokens,
           completion_tokens, cost_usd::float8 AS cost_usd
    FROM model_calls WHERE org_id = $1 AND run_id = $2
    UNION ALL
    SELECT 'tool', id::text, name,
           CASE status WHEN 'completed' THEN 'succeeded' WHEN 'begun' THEN NULL ELSE 'failed' END,
           begun_at, settled_at, input, result, error, NULL, NULL, NULL
    FROM tool_calls WHERE org_id = $1 AND run_id = $2
) calls
ORDER BY coalesce(ended_at, 'infinity'), kind, id;

-- name: delete_spans
DELETE FROM spans WHERE org_id = $1 AND project_id = $2 AND trace_id = $3;

-- name: delete_trace
DELETE FROM traces WHERE org_id = $1 AND project_id = $2 AND id = $3 RETURNING id;

-- name: expired
-- Traces that nothing was added to for so long, of all tenants.
SELECT org_id, project_id, id FROM traces WHERE received_at < $1 ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED;
