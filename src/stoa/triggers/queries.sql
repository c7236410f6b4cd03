-- name: app
-- The project of an app; locks the app against deletion.
SELECT project_id, archived_at FROM apps WHERE org_id = $1 AND id = $2 FOR KEY SHARE;

-- name: insert_trigger
INSERT INTO triggers (org_id, project_id, id, app_id, name, provider, config, input_transformer, signing_secret,
    hook_hash, actor_id, actor_is_user, created_by, updated_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13);

-- name: trigger
SELECT * FROM triggers WHERE org_id = $1 AND app_id = $2 AND id = $3;

-- name: lock_trigger
SELECT * FROM triggers WHERE org_id = $1 AND app_id = $2 AND id = $3 FOR NO KEY UPDATE;

-- name: share_trigger
-- A trigger's status, with a row lock.
SELECT status FROM triggers WHERE org_id = $1 AND id = $2 FOR SHARE;

-- name: list_triggers
-- An app's triggers; {order} is made of checked column names.
SELECT * FROM triggers WHERE org_id = $1 AND app_id = $2 ORDER BY {order} LIMIT $3 OFFSET $4;

-- name: count_triggers
SELECT count(*) FROM triggers WHERE org_id = $1 AND app_id = $2;

-- name: update_trigger
-- A NULL signing secret keeps the old one, unless $8 removes it. The next due time stays unless $13 says that the
-- schedule has changed.
UPDATE triggers SET config = $3, input_transformer = $4, status = $5,
    next_at = CASE WHEN $13::boolean THEN $6 ELSE next_at END, wake_at = CASE WHEN $13 THEN $7 ELSE wake_at END,
    missed = CASE WHEN $13 THEN 0 ELSE missed END, missed_from = CASE WHEN $13 THEN NULL ELSE missed_from END,
    signing_secret = CASE WHEN $8::boolean THEN NULL ELSE coalesce($9, signing_secret) END,
    problem = NULL, actor_id = $10, actor_is_user = $11, updated_by = $12, updated_at = now()
WHERE org_id = $1 AND id = $2 RETURNING *;

-- name: set_status
-- Activates or deactivates. Due times while it was not active do not count as missed.
UPDATE triggers SET status = $3, next_at = $4, wake_at = $5, missed = 0, missed_from = NULL, problem = NULL,
    actor_id = $6, actor_is_user = $7, updated_by = $8, updated_at = now()
WHERE org_id = $1 AND id = $2 RETURNING *;

-- name: set_hook
UPDATE triggers SET hook_hash = $3, updated_by = $4, updated_at = now() WHERE org_id = $1 AND id = $2 RETURNING *;

-- name: delete_trigger
-- With its events, by cascade.
DELETE FROM triggers WHERE org_id = $1 AND app_id = $2 AND id = $3 RETURNING id;

-- name: drop_waiting
-- Skips the pending events of a stopped trigger.
UPDATE trigger_events SET status = 'skipped', error = $3
WHERE org_id = $1 AND trigger_id = $2 AND status = 'pending';

-- name: events_waiting
SELECT count(*) FROM trigger_events WHERE org_id = $1 AND trigger_id = $2 AND status IN ('pending', 'starting');

-- name: insert_event
-- No row: an event of this delivery or due time exists.
INSERT INTO trigger_events (org_id, project_id, id, trigger_id, source, due_at, delivery_id, payload, status,
    received_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING RETURNING *;

-- name: event
SELECT * FROM trigger_events WHERE org_id = $1 AND trigger_id = $2 AND id = $3;

-- name: event_of_delivery
SELECT * FROM trigger_events WHERE org_id = $1 AND trigger_id = $2 AND delivery_id = $3;

-- name: list_events
-- Newest first; {events_order} is made of checked column names.
SELECT * FROM trigger_events WHERE org_id = $1 AND trigger_id = $2 ORDER BY {events_order} LIMIT $3 OFFSET $4;

-- name: count_events
SELECT count(*) FROM (SELECT FROM trigger_events WHERE org_id = $1 AND trigger_id = $2 LIMIT 10001) counted;

-- name: hook
-- Of all tenants: the trigger of a secret URL.
SELECT t.*, a.archived_at FROM triggers t JOIN apps a ON a.org_id = t.org_id AND a.id = t.app_id WHERE t.hook_hash = $1;

-- name: due
-- Of all tenants: schedules that are due, each locked by one node (SKIP LOCKED).
SELECT * FROM triggers WHERE wake_at <= $1 ORDER BY wake_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED;

-- name: advance
-- Moves a schedule to its next due time. NULL $4: it has ended.
UPDATE triggers SET next_at = $3, wake_at = $4, status = $5, missed = $6, missed_from = $7
WHERE org_id = $1 AND id = $2;

-- name: stop
-- Stops a trigger with a reason, unless another actor than $4 has activated it meanwhile.
UPDATE triggers SET status = 'inactive', next_at = NULL, wake_at = NULL, problem = $3, updated_at = now()
WHERE org_id = $1 AND id = $2 AND status = 'active' AND actor_id = $4;

-- name: claim
-- Of all tenants. The parameters are those of `claimable` in `db/claiming.sql`; $8 is the length of the lease in
-- seconds.
UPDATE trigger_events e
SET status = 'starting', node_id = $1, attempt = e.attempt + 1, error = NULL,
    deadline = now() + $8::float8 * interval '1 second'
FROM ({claimable}) taken
JOIN trigger_events o ON o.org_id = taken.org_id AND o.id = taken.id
JOIN triggers t ON t.org_id = o.org_id AND t.id = o.trigger_id
JOIN apps a ON a.org_id = t.org_id AND a.id = t.app_id
WHERE e.org_id = taken.org_id AND e.id = taken.id
RETURNING e.id, e.org_id, e.project_id, e.trigger_id, e.payload, e.attempt, e.node_id, t.app_id, t.input_transformer,
    t.actor_id, t.actor_is_user, a.archived_at IS NOT NULL AS archived;

-- name: accept
-- In the transaction that begins the run. No row: this node no longer owns the event, and the run does not begin.
UPDATE trigger_events SET status = 'accepted', run_id = $5, node_id = NULL, deadline = NULL, error = NULL
WHERE org_id = $1 AND id = $2 AND attempt = $3 AND node_id = $4 AND status = 'starting' RETURNING id;

-- name: fail
UPDATE trigger_events SET status = 'failed', error = $5, node_id = NULL, deadline = NULL
WHERE org_id = $1 AND id = $2 AND attempt = $3 AND node_id = $4 AND status = 'starting' RETURNING id;

-- name: postpone
UPDATE trigger_events
SET status = 'pending', error = $6, node_id = NULL, deadline = NULL,
    not_before = now() + $5::float8 * interval '1 second'
WHERE org_id = $1 AND id = $2 AND attempt = $3 AND node_id = $4 AND status = 'starting' RETURNING id;

-- name: give_back
-- Of all tenants.
-- Called when this node stops: releases its events, and this attempt does not count.
UPDATE trigger_events
SET status = 'pending', node_id = NULL, deadline = NULL, not_before = now(), attempt = greatest(attempt - 1, 0)
WHERE node_id = $1 AND status = 'starting';

-- name: prune
-- Of all tenants: old entries of the log, a bounded number at a time.
DELETE FROM trigger_events WHERE (org_id, id) IN (
    SELECT org_id, id FROM trigger_events
    WHERE received_at < $1 AND status IN ('accepted', 'failed', 'skipped') ORDER BY received_at LIMIT $2);

-- name: waiting_events
-- Of all tenants.
SELECT 'pending', count(*) FROM trigger_events WHERE status = 'pending'
UNION ALL
SELECT 'starting', count(*) FROM trigger_events WHERE status = 'starting';

-- name: of_keys
SELECT * FROM triggers
WHERE org_id = $1 AND actor_id = ANY ($2::uuid[]) AND NOT actor_is_user AND status = 'active'
ORDER BY name, id LIMIT 500;

-- name: hand_over
UPDATE triggers SET actor_id = $3 WHERE org_id = $1 AND actor_id = $2 AND NOT actor_is_user;
