-- outside a transaction
-- Filters of lists that no index served: a page of what is rare, or not there, read the whole list. Each statement can be
-- repeated: a start that was killed here goes on at the next.

CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_of_user ON runs (org_id, user_id, created_at DESC, id)
    WHERE user_id IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_of_session ON runs (org_id, session_id, created_at DESC, id)
    WHERE session_id IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_canceled ON runs (org_id, created_at DESC, id)
    WHERE status = 'canceled';
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_of_model ON conversations (org_id, model_id, created_at DESC, id)
    WHERE model_id IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS traces_of_user ON traces (org_id, project_id, user_id, started_at DESC)
    WHERE user_id IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS traces_of_source ON traces (org_id, project_id, source_id, started_at DESC)
    WHERE source_id IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS traces_unsuccessful ON traces (org_id, project_id, started_at DESC)
    WHERE status IS DISTINCT FROM 'succeeded';
CREATE INDEX CONCURRENTLY IF NOT EXISTS model_calls_of_user ON model_calls (org_id, user_id, at)
    WHERE user_id IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS traces_by_id ON traces (org_id, id);
