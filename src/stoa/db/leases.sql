-- name: insert_node
-- Records that the node has its lock on this server. Returns the start time of the server, which identifies it.
INSERT INTO nodes (id, lock_key, expires_at, server_started)
VALUES ($1, $2, now() + $3::float8 * interval '1 second', pg_postmaster_start_time())
ON CONFLICT (id) DO UPDATE SET lock_key = excluded.lock_key, expires_at = excluded.expires_at,
    server_started = excluded.server_started
RETURNING server_started;

-- name: see_server
-- The first node on a server starts the grace period for the others (view living_nodes).
WITH gone AS (DELETE FROM database_servers WHERE started_at <> pg_postmaster_start_time())
INSERT INTO database_servers (started_at) VALUES (pg_postmaster_start_time()) ON CONFLICT DO NOTHING;

-- name: renew_node
-- One statement per node and second; returns the number of other living nodes.
WITH me AS (UPDATE nodes SET expires_at = now() + $2::float8 * interval '1 second', stuck = $3
            WHERE id = $1
            RETURNING id)
SELECT (SELECT count(*) FROM me) AS mine, (SELECT count(*) FROM nodes WHERE id <> $1 AND expires_at > now()) AS others;

-- name: remove_node
DELETE FROM nodes WHERE id = $1;

-- name: remove_old_nodes
-- Removes rows of dead nodes; a node without a row counts as dead.
DELETE FROM nodes WHERE expires_at < now() - interval '1 hour';

-- name: stuck_loops
-- Of nodes whose lease runs.
SELECT id, stuck FROM nodes WHERE stuck <> '{}' AND expires_at >= now();
