-- name: report
-- A report from stored sums. $2 … $4 are time spans with what is read in each: 'day' and 'hour' read sums, 'line' reads
-- the bill. $5 … $8 filter, $9 are the fields to group by; a field that is not in $9 is NULL in all rows. $10 selects
-- the sums: of each project and key, or of all projects, by key or of all keys.
SELECT *, count(*) OVER () AS total FROM (
    SELECT
        CASE WHEN 'day' = ANY ($9::text[]) THEN (at AT TIME ZONE 'UTC')::date END AS day,
        CASE WHEN 'model' = ANY ($9::text[]) THEN model END AS model,
        CASE WHEN 'key_id' = ANY ($9::text[]) THEN key_id END AS key_id,
        CASE WHEN 'project_id' = ANY ($9::text[]) THEN project_id END AS project_id,
        CASE WHEN 'kind' = ANY ($9::text[]) THEN kind END AS kind,
        sum(calls)::bigint AS calls, sum(prompt_tokens)::bigint AS prompt_tokens,
            sum(cached_tokens)::bigint AS cached_tokens,
        sum(completion_tokens)::bigint AS completion_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens,
        coalesce(sum(cost_usd), 0)::float8 AS cost_usd, sum(estimated_calls)::bigint AS estimated_calls,
        sum(unpriced_calls)::bigint AS unpriced_calls, min(first_id) AS id
    FROM unnest($2::text[], $3::timestamptz[], $4::timestamptz[]) AS span (width, starts_at, ends_at) CROSS
        JOIN LATERAL (
        SELECT starts_at AS at, project_id, key_id, model, kind, calls, prompt_tokens, cached_tokens, completion_tokens,
            reasoning_tokens, cost_usd,
               estimated_calls, unpriced_calls, first_id
        FROM usage_sums s
        WHERE $10::text = 'projects' AND s.org_id = $1 AND s.width = span.width AND s.starts_at >= span.starts_at
          AND s.starts_at < span.ends_at
        UNION ALL
        SELECT starts_at, NULL, key_id, model, kind, calls, prompt_tokens, cached_tokens, completion_tokens,
            reasoning_tokens, cost_usd, estimated_calls, unpriced_calls, first_id
        FROM usage_totals t
        WHERE $10::text <> 'projects' AND t.org_id = $1 AND t.keyed = ($10::text = 'keys') AND t.width = span.width
          AND t.starts_at >= span.starts_at AND t.starts_at < span.ends_at
        UNION ALL
        SELECT at, project_id, key_id, model, kind, 1, prompt_tokens, cached_tokens, completion_tokens,
            reasoning_tokens, cost_usd,
               estimated::int, (cost_usd IS NULL)::int, id
        FROM model_calls c
        WHERE span.width = 'line' AND c.org_id = $1 AND c.at >= span.starts_at AND c.at < span.ends_at
    ) used
    WHERE ($5::uuid IS NULL OR project_id = $5) AND ($6::uuid IS NULL OR key_id = $6) AND ($7::text IS NULL
        OR model = $7)
      AND ($8::text IS NULL OR kind = $8)
    GROUP BY 1, 2, 3, 4, 5 HAVING sum(calls) <> 0
) sums
ORDER BY {sums_order} LIMIT $11 OFFSET $12;

-- name: report_of_lines
-- The same from the lines of the bill alone, for fields that sums do not have. $4 … $11 filter. {grouped} are the
-- fields, NULL for those that are not grouped by, and {by} the numbers of the other columns. {only} repeats one filter
-- without its `IS NULL OR`, so that the planner uses its index: the generic plan would read all lines.
SELECT *, count(*) OVER () AS total FROM (
    SELECT {grouped},
        count(*) AS calls, sum(prompt_tokens) AS prompt_tokens, sum(cached_tokens) AS cached_tokens,
        sum(completion_tokens) AS completion_tokens, sum(reasoning_tokens) AS reasoning_tokens,
        coalesce(sum(cost_usd), 0)::float8 AS cost_usd, count(*) FILTER (WHERE estimated) AS estimated_calls,
        count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced_calls, min(id) AS id
    FROM model_calls
    WHERE org_id = $1 AND at >= $2 AND at < $3{only}
      AND ($4::uuid IS NULL OR project_id = $4) AND ($5::uuid IS NULL OR key_id = $5) AND ($6::text IS NULL
          OR model = $6)
      AND ($7::text IS NULL OR kind = $7) AND ($8::uuid IS NULL OR conversation_id = $8) AND ($9::uuid IS NULL
          OR run_id = $9)
      AND ($10::text IS NULL OR user_id = $10) AND ($11::uuid IS NULL OR knowledgebase_id = $11)
    GROUP BY {by} HAVING count(*) > 0
) sums
ORDER BY {sums_order} LIMIT $12 OFFSET $13;

-- name: summed_until
-- The sums of projects contain all lines before `until`, the sums of all projects all lines before `totals_until`.
SELECT until, totals_until FROM usage_progress;

-- name: take_progress
-- The same, locked until the transaction ends. No row while another node has the lock.
SELECT until, totals_until FROM usage_progress FOR UPDATE SKIP LOCKED;

-- name: settled_until
-- A full hour before which no line can be inserted any more: a line has the start time of its transaction, and all
-- transactions that started before that hour have ended.
SELECT date_trunc('hour', least(now() - interval '5 minutes', min(xact_start)), 'UTC') FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid();

-- name: first_line
-- Of all tenants.
-- The time of the oldest line. Read once, before the first sum.
SELECT min(at) FROM model_calls;

-- name: sum_lines
-- Of all tenants.
-- Adds the lines between two full hours to the sums of their hours and days.
INSERT INTO usage_sums AS s (org_id, project_id, width, starts_at, key_id, model, kind, calls, prompt_tokens,
    cached_tokens, completion_tokens,
                             reasoning_tokens, cost_usd, estimated_calls, unpriced_calls, first_id)
SELECT org_id, project_id, width, date_trunc(width, at, 'UTC'), key_id, model, kind, count(*), sum(prompt_tokens),
    sum(cached_tokens),
       sum(completion_tokens), sum(reasoning_tokens), coalesce(sum(cost_usd), 0), count(*) FILTER (WHERE estimated),
       count(*) FILTER (WHERE cost_usd IS NULL), min(id)
FROM model_calls CROSS JOIN unnest(ARRAY['hour', 'day']) AS width WHERE at >= $1 AND at < $2
    GROUP BY 1, 2, 3, 4, 5, 6, 7
ON CONFLICT (org_id, width, starts_at, project_id, key_id, model, kind) DO UPDATE SET
    calls = s.calls + excluded.calls, prompt_tokens = s.prompt_tokens + excluded.prompt_tokens,
    cached_tokens = s.cached_tokens + excluded.cached_tokens,
        completion_tokens = s.completion_tokens + excluded.completion_tokens,
    reasoning_tokens = s.reasoning_tokens + excluded.reasoning_tokens, cost_usd = s.cost_usd + excluded.cost_usd,
    estimated_calls = s.estimated_calls + excluded.estimated_calls,
        unpriced_calls = s.unpriced_calls + excluded.unpriced_calls,
    first_id = least(s.first_id, excluded.first_id);

-- name: set_progress
UPDATE usage_progress SET until = $1;

-- name: first_sum
-- Of all tenants.
-- The oldest hour that has a sum. Read once, before the first total.
SELECT min(starts_at) FROM usage_sums WHERE width = 'hour';

-- name: sum_projects
-- Adds the sums of projects between two full hours to those of all projects, by key and of all keys.
INSERT INTO usage_totals AS t (org_id, width, starts_at, keyed, key_id, model, kind, calls, prompt_tokens,
    cached_tokens, completion_tokens, reasoning_tokens, cost_usd, estimated_calls, unpriced_calls, first_id)
SELECT s.org_id, w.width, date_trunc(w.width, s.starts_at, 'UTC'), keyed, CASE WHEN keyed THEN s.key_id END, s.model,
    s.kind, sum(s.calls), sum(s.prompt_tokens), sum(s.cached_tokens), sum(s.completion_tokens), sum(s.reasoning_tokens),
    sum(s.cost_usd), sum(s.estimated_calls), sum(s.unpriced_calls), min(s.first_id)
FROM orgs o CROSS JOIN LATERAL (
    SELECT * FROM usage_sums s
    WHERE s.org_id = o.id AND s.width = 'hour' AND s.starts_at >= $1 AND s.starts_at < $2
) s CROSS JOIN unnest(ARRAY['hour', 'day']) AS w (width) CROSS JOIN unnest(ARRAY[false, true]) AS keyed
GROUP BY 1, 2, 3, 4, 5, 6, 7
ON CONFLICT (org_id, keyed, width, starts_at, key_id, model, kind) DO UPDATE SET
    calls = t.calls + excluded.calls, prompt_tokens = t.prompt_tokens + excluded.prompt_tokens,
    cached_tokens = t.cached_tokens + excluded.cached_tokens,
    completion_tokens = t.completion_tokens + excluded.completion_tokens,
    reasoning_tokens = t.reasoning_tokens + excluded.reasoning_tokens, cost_usd = t.cost_usd + excluded.cost_usd,
    estimated_calls = t.estimated_calls + excluded.estimated_calls,
    unpriced_calls = t.unpriced_calls + excluded.unpriced_calls, first_id = least(t.first_id, excluded.first_id);

-- name: set_totals_progress
UPDATE usage_progress SET totals_until = $1;
