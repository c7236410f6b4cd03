-- outside a transaction
-- A user's conversations and runs, newest first.

CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_of_owner ON conversations (org_id, owner_id, created_at DESC, id)
    WHERE owner_id IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_of_owner ON runs (org_id, owner_id, created_at DESC, id)
    WHERE owner_id IS NOT NULL;
