-- name: insert_node
INSERT INTO nodes (id, lock_key, expires_at) VALUES ($1, $2, now() + $3::float8 * interval '1 second')
ON CONFLICT (id) DO UPDATE SET lock_key = excluded.lock_key, expires_at = excluded.expires_at;

-- name: renew_node
-- One statement per node and second; gives how many other nodes live.
WITH me AS (UPDATE nodes SET expires_at = now() + $2::float8 * interval '1 second', stuck = $3
            WHERE id = $1
            RETURNING id)
SELECT (SELECT count(*) FROM me) AS mine, (SELECT count(*) FROM nodes WHERE id <> $1 AND expires_at > now()) AS others;

-- name: remove_node
DELETE FROM nodes WHERE id = $1;

-- name: remove_old_nodes
-- A node without a row does not live, so nothing is lost with the row.
DELETE FROM nodes WHERE expires_at < now() - interval '1 hour';

-- name: stuck_loops
-- Of nodes whose lease runs.
SELECT id, stuck FROM nodes WHERE stuck <> '{}' AND expires_at >= now();
