-- name: insert_run
-- A new run; the partial unique index refuses a second active one of the conversation.
INSERT INTO runs (org_id, project_id, id, conversation_id, message_id, message_position, model_id, user_id, status, options, input,
                  attempt, node_id, started_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, CASE WHEN $9 = 'started' THEN now() END, $14)
RETURNING *;

-- name: run
SELECT * FROM runs WHERE org_id = $1 AND id = $2;

-- name: run_for_update
-- The run, held against every other writer until the transaction ends.
SELECT * FROM runs WHERE org_id = $1 AND id = $2 FOR UPDATE;

-- name: active_run
-- The conversation's active run, if any.
SELECT id FROM runs WHERE org_id = $1 AND conversation_id = $2 AND status IN ('created', 'started', 'paused');

-- name: list_runs
-- A page of runs, newest started first.
SELECT * FROM runs
WHERE org_id = $1 AND ($2::text[] IS NULL OR status = ANY ($2)) AND ($3::uuid IS NULL OR conversation_id = $3)
  AND ($4::text IS NULL OR user_id = $4)
ORDER BY {order} LIMIT $5 OFFSET $6;

-- name: count_runs
SELECT count(*) FROM runs
WHERE org_id = $1 AND ($2::text[] IS NULL OR status = ANY ($2)) AND ($3::uuid IS NULL OR conversation_id = $3)
  AND ($4::text IS NULL OR user_id = $4);

-- name: end_run
-- The end, beside the terminal event in one transaction.
UPDATE runs SET status = $3, output = $4, error = $5, usage = $6, checkpoint = NULL, node_id = NULL, ended_at = now()
WHERE org_id = $1 AND id = $2 AND status IN ('created', 'started', 'paused');

-- name: want_cancel
-- An intent; whoever carries the run records the end. The first reason stays.
UPDATE runs SET cancel_reason = coalesce(cancel_reason, $3) WHERE org_id = $1 AND id = $2 AND status IN ('created', 'started', 'paused')
RETURNING node_id;

-- name: claim
-- Takes up to $2 runs that nobody carries: new ones, given-back ones, and those of nodes whose lease ran out or whose
-- advisory lock is free (their process is gone). Each is this node's from the commit on.
WITH held AS (
    SELECT objid::bigint AS key FROM pg_locks
    WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND classid = 21366 AND granted
), dead AS (
    SELECT n.id FROM nodes n WHERE n.expires_at < now() OR NOT EXISTS (SELECT 1 FROM held WHERE held.key = n.lock_key)
), orphans AS (
    SELECT r.org_id, r.id FROM runs r
    WHERE r.status IN ('created', 'started')
      AND (r.node_id IS NULL OR r.node_id IN (SELECT id FROM dead) OR NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = r.node_id))
    ORDER BY r.created_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE runs r SET node_id = $1, status = 'started', started_at = coalesce(started_at, now()), attempt = attempt + 1
FROM orphans o WHERE r.org_id = o.org_id AND r.id = o.id RETURNING r.*;

-- name: give_back
-- This node is leaving: its runs are anybody's.
UPDATE runs SET node_id = NULL, attempt = greatest(attempt - 1, 0) WHERE node_id = $1 AND status IN ('created', 'started');

-- name: insert_node
INSERT INTO nodes (id, lock_key, expires_at) VALUES ($1, $2, now() + $3::float8 * interval '1 second')
ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at;

-- name: renew_node
-- One statement per node and second; gives how many other nodes live.
WITH me AS (UPDATE nodes SET expires_at = now() + $2::float8 * interval '1 second' WHERE id = $1 RETURNING id)
SELECT (SELECT count(*) FROM me) AS mine, (SELECT count(*) FROM nodes WHERE id <> $1 AND expires_at > now()) AS others;

-- name: remove_node
DELETE FROM nodes WHERE id = $1;

-- name: remove_old_nodes
-- Nodes long dead, whose runs were claimed.
DELETE FROM nodes n WHERE expires_at < now() - interval '1 hour' AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.node_id = n.id AND r.status IN ('created', 'started'));

-- name: delete_runs
-- A conversation's runs, with the bytes they held.
DELETE FROM runs WHERE org_id = $1 AND conversation_id = $2
RETURNING id, coalesce(octet_length(output), 0) + octet_length(input::text) AS bytes;
