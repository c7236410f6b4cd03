-- outside a transaction
-- Indexes that a large database needs (docs/decisions/0027). Each statement can be repeated: a start that was killed
-- here goes on at the next.

CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_by_time ON conversations (org_id, created_at DESC, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_by_user ON conversations (org_id, user_id, created_at DESC, id)
    WHERE user_id IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_by_forked_message ON conversations (org_id,
    forked_from_message_id)
    WHERE forked_from_message_id IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_words ON conversations USING gin (search_words(search, org_id));
CREATE INDEX CONCURRENTLY IF NOT EXISTS messages_words ON messages USING gin (search_words(search, org_id));
CREATE INDEX CONCURRENTLY IF NOT EXISTS messages_by_run ON messages (org_id, run_id) WHERE run_id IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_by_time ON runs (org_id, created_at DESC, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_by_message ON runs (org_id, message_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_failed ON runs (org_id, created_at DESC, id) WHERE status = 'failed';
CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_paused ON runs (created_at) WHERE status = 'paused';
CREATE INDEX CONCURRENTLY IF NOT EXISTS tool_calls_begun ON tool_calls (begun_at) WHERE status = 'begun';
CREATE INDEX CONCURRENTLY IF NOT EXISTS model_calls_by_time ON model_calls (org_id, at);

-- The doctor's spans: what is made together lies together, so a few bytes per megabyte of table lead to a day.
CREATE INDEX CONCURRENTLY IF NOT EXISTS messages_of_day ON messages USING brin (created_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_of_day ON runs USING brin (created_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS model_calls_of_day ON model_calls USING brin (at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS journals_of_day ON journals USING brin (run_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS events_of_day ON events USING brin (run_id);

-- An expression in an index has statistics like a column: of words there are none (0011).
ALTER INDEX conversations_words ALTER COLUMN 1 SET STATISTICS 0;
ALTER INDEX messages_words ALTER COLUMN 1 SET STATISTICS 0;

-- No statement asks for these any more; those of older servers never used them, because `@@` is not leakproof.
DROP INDEX CONCURRENTLY IF EXISTS conversations_search;
DROP INDEX CONCURRENTLY IF EXISTS messages_search;
