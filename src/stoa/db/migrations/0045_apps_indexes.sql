-- outside a transaction
-- Indexes for what apps add to conversations and runs. Each statement can be repeated: a start that was killed here goes
-- on at the next.

CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS conversations_of_session
    ON conversations (org_id, app_id, session_id, coalesce(user_id, '')) WHERE session_id IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_of_app ON conversations (org_id, app_id, created_at DESC, id)
    WHERE app_id IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_of_app ON runs (org_id, app_id, created_at DESC, id) WHERE app_id IS NOT NULL;
