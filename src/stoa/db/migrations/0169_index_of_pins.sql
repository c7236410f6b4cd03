-- outside a transaction
-- The pinned conversations of a project. The statement can be repeated: a start that was killed here goes on at the next.

CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_pinned ON conversations (org_id, project_id, pinned_at DESC, id)
    WHERE pinned_at IS NOT NULL;
