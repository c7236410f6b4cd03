-- outside a transaction
-- The runs of a project in the order in which they ended, which is how an export of traces goes through them.
CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_ended ON runs (org_id, project_id, ended_at, id) WHERE ended_at IS NOT NULL;
