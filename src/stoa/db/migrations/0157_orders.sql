-- outside a transaction
-- What lists are sorted by besides created_at (docs/decisions/0133). BRIN: an index of block ranges keeps no entry for
-- a row, and an update that changes such a column alone stays a HOT update. Each statement can be repeated.

CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_by_update ON conversations USING brin (updated_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_by_moments ON runs USING brin (started_at, ended_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversations_by_title ON conversations (org_id, title, id)
    WHERE title IS NOT NULL;
