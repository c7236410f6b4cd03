-- outside a transaction
-- Runs whose clients asked that nothing be kept of them (`store: false`), until they are deleted. The statement can be
-- repeated: a start that was killed here goes on at the next.

CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_unstored ON runs (ended_at) WHERE options->'wanted'->>'store' = 'false';
