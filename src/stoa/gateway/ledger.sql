-- name: enter
-- A line of the bill.
INSERT INTO model_calls (org_id, project_id, kind, knowledgebase_id, key_id, model, prompt_tokens, completion_tokens,
    cached_tokens, reasoning_tokens,
                         estimated, cost_usd)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING id;

-- name: spend
-- Adds to what a limited key has spent today.
INSERT INTO key_spending AS s (org_id, project_id, key_id, day, part, usd)
    VALUES ($1, $2, $3, (now() AT TIME ZONE 'UTC')::date, $4, $5)
ON CONFLICT (org_id, key_id, day, part) DO UPDATE SET usd = s.usd + excluded.usd;

-- name: spent
-- What a limited key has spent in the current day or month, or in total.
SELECT coalesce(sum(usd), 0)::float8 FROM key_spending
    WHERE org_id = $1 AND key_id = $2 AND ($3 = 'total' OR day >= date_trunc($3, now() AT TIME ZONE 'UTC')::date);

-- name: limit_of
SELECT spending_limit_usd::float8 AS usd, spending_period FROM access_keys
    WHERE org_id = $1 AND id = $2 AND spending_limit_usd IS NOT NULL;

-- name: reserve
-- Reserves the maximum cost of a limited key's call.
SELECT granted, spent_usd, limit_usd, period FROM reserve_spending($1, $2, $3, $4, $5, $6);

-- name: enter_calls
-- Enters the lines of a group of calls, and replaces their reservations by their costs. A group is entered once,
-- however often it is sent.
WITH batch AS (
    INSERT INTO ledger_batches AS b (node_id, number) VALUES ($1, $2)
    ON CONFLICT (node_id) DO UPDATE SET number = excluded.number, entered_at = now() WHERE b.number < excluded.number
    RETURNING true
), lines AS (
    SELECT l.* FROM batch CROSS JOIN jsonb_to_recordset($3::jsonb) AS l (
        id uuid, org_id uuid, project_id uuid, key_id uuid, user_id text, model text, prompt_tokens int,
            completion_tokens int, cached_tokens int,
        reasoning_tokens int, estimated boolean, cost_usd numeric(18, 9), billed boolean, part smallint, kind text)
), entered AS (
    INSERT INTO model_calls (org_id, project_id, kind, key_id, user_id, model, prompt_tokens, completion_tokens,
        cached_tokens, reasoning_tokens,
                             estimated, cost_usd)
    SELECT org_id, project_id, kind, key_id, user_id, model, prompt_tokens, completion_tokens, cached_tokens,
        reasoning_tokens, estimated, cost_usd
    FROM lines WHERE billed
), released AS (
    DELETE FROM key_reservations r USING lines l WHERE r.org_id = l.org_id AND r.id = l.id
    RETURNING r.org_id, r.project_id, r.key_id, r.day, r.part, r.usd
), changes AS (
    SELECT org_id, project_id, key_id, (now() AT TIME ZONE 'UTC')::date AS day, part, cost_usd AS usd FROM lines
        WHERE billed AND cost_usd > 0
    UNION ALL
    SELECT org_id, project_id, key_id, day, part, -usd FROM released
)
INSERT INTO key_spending AS s (org_id, project_id, key_id, day, part, usd)
SELECT c.org_id, (array_agg(c.project_id))[1], c.key_id, c.day, c.part, sum(c.usd)
FROM changes c JOIN access_keys k ON k.org_id = c.org_id AND k.id = c.key_id
WHERE k.spending_limit_usd IS NOT NULL
GROUP BY c.org_id, c.key_id, c.day, c.part ORDER BY c.org_id, c.key_id, c.day, c.part
ON CONFLICT (org_id, key_id, day, part) DO UPDATE SET usd = s.usd + excluded.usd;

-- name: release_abandoned
-- Of all tenants.
-- Removes the reservations of dead nodes; returns the number of calls.
WITH gone AS (
    DELETE FROM key_reservations r
    WHERE r.made_at < now() - interval '1 minute'
        AND NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = r.node_id AND n.expires_at > now())
    RETURNING r.org_id, r.key_id, r.day, r.part, r.usd
), summed AS (
    SELECT org_id, key_id, day, part, sum(usd) AS usd FROM gone GROUP BY org_id, key_id, day, part
), taken AS (
    UPDATE key_spending s SET usd = s.usd - g.usd FROM summed g
    WHERE s.org_id = g.org_id AND s.key_id = g.key_id AND s.day = g.day AND s.part = g.part
)
SELECT count(*) FROM gone;

-- name: batch_of
-- The last group of lines that a node has entered.
SELECT number FROM ledger_batches WHERE node_id = $1;

-- name: forget_batches
-- Of nodes that have been gone for longer than files of their calls are kept.
DELETE FROM ledger_batches b
    WHERE b.entered_at < now() - interval '60 days' AND NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = b.node_id);
