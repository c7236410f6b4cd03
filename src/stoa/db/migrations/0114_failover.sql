-- A standby that becomes the primary knows the nodes' rows and none of their advisory locks: each node takes its lock again once it has noticed.
-- Until then no node may count as dead for the lack of it.

-- The servers that nodes have taken their locks on, by the moment each was started; a server that is demoted is started anew.
CREATE TABLE database_servers (
    started_at    timestamptz PRIMARY KEY,
    first_seen_at timestamptz NOT NULL DEFAULT now()    -- by the first node that took its lock there
);

-- The server on which the node has taken its lock; NULL for nodes of earlier versions.
ALTER TABLE nodes ADD COLUMN server_started timestamptz;

-- As in 0026. Besides, every node that took its lock on another server lives until the first node has come to this one, and all of them do for
-- 2.5 seconds after that. (A node whose last renewal is ten minutes old does not come any more.)
CREATE OR REPLACE VIEW living_nodes AS
WITH held AS (
    SELECT objid::bigint AS key FROM pg_locks
    WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND classid = 21366 AND granted
), server AS (
    SELECT started_at, first_seen_at FROM database_servers WHERE started_at = pg_postmaster_start_time()
)
SELECT n.id FROM nodes n
WHERE pg_postmaster_start_time() > now() - interval '2.5 seconds'
   OR (n.expires_at >= now() AND EXISTS (SELECT 1 FROM held WHERE held.key = n.lock_key))
   OR (n.server_started <> pg_postmaster_start_time() AND n.expires_at > now() - interval '10 minutes' AND NOT EXISTS (SELECT 1 FROM server))
   OR EXISTS (SELECT 1 FROM server s WHERE s.first_seen_at > now() - interval '2.5 seconds'
              AND s.first_seen_at > s.started_at + interval '2.5 seconds');
