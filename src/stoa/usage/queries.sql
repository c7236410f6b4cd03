-- name: report
-- Sums of the bill; $1 … $9, $13 and $14 say which lines, $10 by what. A field that is not grouped by is the same for all of them.
SELECT *, count(*) OVER () AS total FROM (
    SELECT
        CASE WHEN 'day' = ANY ($10::text[]) THEN (at AT TIME ZONE 'UTC')::date END AS day,
        CASE WHEN 'model' = ANY ($10::text[]) THEN model END AS model,
        CASE WHEN 'key_id' = ANY ($10::text[]) THEN key_id END AS key_id,
        CASE WHEN 'project_id' = ANY ($10::text[]) THEN project_id END AS project_id,
        CASE WHEN 'user_id' = ANY ($10::text[]) THEN user_id END AS user_id,
        CASE WHEN 'conversation_id' = ANY ($10::text[]) THEN conversation_id END AS conversation_id,
        CASE WHEN 'run_id' = ANY ($10::text[]) THEN run_id END AS run_id,
        CASE WHEN 'kind' = ANY ($10::text[]) THEN kind END AS kind,
        CASE WHEN 'knowledgebase_id' = ANY ($10::text[]) THEN knowledgebase_id END AS knowledgebase_id,
        count(*) AS calls, sum(prompt_tokens) AS prompt_tokens, sum(cached_tokens) AS cached_tokens, sum(completion_tokens) AS completion_tokens,
        sum(reasoning_tokens) AS reasoning_tokens, coalesce(sum(cost_usd), 0)::float8 AS cost_usd,
        count(*) FILTER (WHERE estimated) AS estimated_calls, count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced_calls,
        min(at) AS created_at, min(id) AS id
    FROM model_calls
    WHERE org_id = $1 AND at >= $2 AND at < $3
      AND ($4::uuid IS NULL OR project_id = $4) AND ($5::uuid IS NULL OR key_id = $5) AND ($6::uuid IS NULL OR conversation_id = $6)
      AND ($7::uuid IS NULL OR run_id = $7) AND ($8::text IS NULL OR model = $8) AND ($9::text IS NULL OR user_id = $9)
      AND ($13::text IS NULL OR kind = $13) AND ($14::uuid IS NULL OR knowledgebase_id = $14)
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
) sums
ORDER BY {order} LIMIT $11 OFFSET $12;
