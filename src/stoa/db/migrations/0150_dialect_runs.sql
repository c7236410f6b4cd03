-- outside a transaction
-- The runs that clients of a dialect began with one agent, newest first: A2A's list of tasks. The statement can be
-- repeated: a start that was killed here goes on at the next.

CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_of_dialect
    ON runs (org_id, (options->'wanted'->>'dialect'), (options->'wanted'->>'agent'), created_at DESC, id DESC)
    WHERE options->'wanted'->>'dialect' IS NOT NULL;
