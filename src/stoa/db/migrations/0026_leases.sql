-- Leases: one definition of a living node, claims that go round by project, and loops that say when they are stuck.

-- Background loops of the node that make no progress, as of its last renewal (for the doctor).
ALTER TABLE nodes ADD COLUMN stuck text[] NOT NULL DEFAULT '{}';

-- The nodes that live; a job of any other node, also of one without a row, may be claimed. A node lives while its lease runs and its advisory
-- lock is held: PostgreSQL drops the lock with the connection, so a process that was killed is noticed at once. For 2.5 seconds after the
-- database started, every node lives: none could renew its lease or take its lock before. Every claim uses this view and nothing else.
CREATE VIEW living_nodes AS
WITH held AS (
    SELECT objid::bigint AS key FROM pg_locks
    WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND classid = 21366 AND granted
)
SELECT n.id FROM nodes n
WHERE pg_postmaster_start_time() > now() - interval '2.5 seconds'
   OR (n.expires_at >= now() AND EXISTS (SELECT 1 FROM held WHERE held.key = n.lock_key));

-- For nodes of earlier versions, whose claims of items and syncs read this view.
CREATE OR REPLACE VIEW dead_nodes AS SELECT id FROM nodes WHERE id NOT IN (SELECT id FROM living_nodes);

-- What waits, by project and within it by key: a claim steps from one project to the next without reading the runs between them.
CREATE INDEX runs_unclaimed ON runs (project_id, (coalesce(created_by, '00000000-0000-0000-0000-000000000000')), created_at)
    WHERE status IN ('created', 'started') AND queued_at IS NULL AND node_id IS NULL;
-- What nodes carry: those of a dead one are found by its id. Takes the place of runs_claimable, so a run's start writes no more than before.
CREATE INDEX runs_carried ON runs (node_id) WHERE status IN ('created', 'started') AND node_id IS NOT NULL;
DROP INDEX runs_claimable;

CREATE INDEX knowledge_items_waiting ON knowledge_items (project_id, knowledgebase_id, not_before) WHERE status = 'pending';
CREATE INDEX knowledge_source_syncs_waiting ON knowledge_source_syncs (project_id, not_before) WHERE status = 'pending';
