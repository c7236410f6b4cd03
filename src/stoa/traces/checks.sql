-- Each query finds violations. $1 is an organization, or NULL for all; $2 the earliest time or NULL; $3 the time before
-- which rows are checked. A trace moves to the day on which its newest span arrived.

-- name: sums
-- Traces whose row disagrees with the number of their spans.
SELECT t.org_id, t.id AS subject, format('counts %s spans, there are %s', t.span_count, coalesce(s.spans, 0)) AS detail
FROM traces t
LEFT JOIN LATERAL (
    SELECT count(*) AS spans, sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens,
           count(*) FILTER (WHERE ended_at IS NULL) AS open_spans
    FROM spans s WHERE s.org_id = t.org_id AND s.project_id = t.project_id AND s.trace_id = t.id
) s ON true
WHERE ($1::uuid IS NULL OR t.org_id = $1) AND ($2::timestamptz IS NULL OR t.received_at >= $2)
  AND ($3::timestamptz IS NULL OR t.received_at < $3)
  AND (t.span_count <> coalesce(s.spans, 0) OR t.prompt_tokens <> coalesce(s.prompt_tokens, 0)
       OR t.completion_tokens <> coalesce(s.completion_tokens, 0)
       OR t.head_id IS NOT NULL AND t.open_count <> coalesce(s.open_spans, 0));

-- name: orphans
-- Spans whose trace has no row.
SELECT s.org_id, s.id AS subject, format('is a span of the trace %s, which has no row', s.trace_id) AS detail
FROM spans s
WHERE ($1::uuid IS NULL OR s.org_id = $1) AND ($2::timestamptz IS NULL OR s.received_at >= $2)
  AND ($3::timestamptz IS NULL OR s.received_at < $3)
  AND NOT EXISTS (SELECT 1 FROM traces t
                  WHERE t.org_id = s.org_id AND t.project_id = s.project_id AND t.id = s.trace_id);
