-- outside a transaction
-- An app's callbacks, the newest first: the list that its page shows.

CREATE INDEX CONCURRENTLY IF NOT EXISTS callbacks_of_app ON callbacks (org_id, app_id, created_at DESC, id);
