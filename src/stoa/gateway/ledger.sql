-- name: enter
-- A line of the bill.
INSERT INTO model_calls (org_id, project_id, kind, knowledgebase_id, key_id, model, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens,
                         estimated, cost_usd)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING id;

-- name: spend
-- Adds to what a limited key has spent today.
INSERT INTO key_spending AS s (org_id, project_id, key_id, day, part, usd) VALUES ($1, $2, $3, (now() AT TIME ZONE 'UTC')::date, $4, $5)
ON CONFLICT (org_id, key_id, day, part) DO UPDATE SET usd = s.usd + excluded.usd;

-- name: spent
-- What a limited key has spent in the day or month that it is, or altogether.
SELECT coalesce(sum(usd), 0)::float8 FROM key_spending WHERE org_id = $1 AND key_id = $2 AND ($3 = 'total' OR day >= date_trunc($3, now() AT TIME ZONE 'UTC')::date);

-- name: limit_of
SELECT spending_limit_usd::float8 AS usd, spending_period FROM access_keys WHERE org_id = $1 AND id = $2 AND spending_limit_usd IS NOT NULL;
