-- name: insert_callback
INSERT INTO callbacks (org_id, project_id, id, run_id, app_id, position, url, auth, metadata, status)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'waiting');

-- name: visible_run
-- Whether the caller can see the run. With $3 the run must belong to that app.
SELECT id FROM runs WHERE org_id = $1 AND id = $2 AND ($3::uuid IS NULL OR app_id = $3);

-- name: callbacks_of_run
SELECT * FROM callbacks WHERE org_id = $1 AND run_id = $2 ORDER BY position;

-- name: app_is_visible
SELECT 1 FROM apps WHERE org_id = $1 AND id = $2;

-- name: callbacks_of_app
-- Newest first. With $3 only callbacks in one of these states.
SELECT * FROM callbacks WHERE org_id = $1 AND app_id = $2 AND ($3::text[] IS NULL OR status = ANY ($3))
ORDER BY created_at DESC, id LIMIT $4 OFFSET $5;

-- name: count_callbacks_of_app
SELECT count(*) FROM (
    SELECT 1 FROM callbacks WHERE org_id = $1 AND app_id = $2 AND ($3::text[] IS NULL OR status = ANY ($3)) LIMIT $4
) counted;

-- name: attempts
SELECT * FROM callback_attempts WHERE org_id = $1 AND callback_id = ANY ($2::uuid[]) ORDER BY callback_id, number;

-- name: replay
-- Sends it once more, with the same id and a new count of attempts. Not while its run is active or it is being sent.
UPDATE callbacks SET status = 'pending', attempt = 0, error = NULL, not_before = now(), ended_at = NULL
WHERE org_id = $1 AND run_id = $2 AND id = $3 AND status IN ('pending', 'delivered', 'failed') RETURNING id;

-- name: callback_status
SELECT status FROM callbacks WHERE org_id = $1 AND run_id = $2 AND id = $3;

-- name: remove
-- Their attempts are deleted by cascade.
WITH gone AS (
    DELETE FROM callbacks
    WHERE org_id = $1 AND run_id IN (SELECT id FROM runs WHERE org_id = $1 AND conversation_id = $2)
    RETURNING octet_length(url) + coalesce(octet_length(auth), 0) + coalesce(octet_length(metadata::text), 0) AS bytes
)
SELECT count(*) AS rows, coalesce(sum(bytes), 0)::bigint AS bytes FROM gone;

-- name: claim
-- Of all tenants. The parameters are those of `claimable` in `db/claiming.sql`; $8 is the length of the lease in
-- seconds.
UPDATE callbacks c
SET status = 'running', node_id = $1, attempt = c.attempt + 1, deadline = now() + $8::float8 * interval '1 second'
FROM ({claimable}) taken WHERE c.org_id = taken.org_id AND c.id = taken.id RETURNING c.*;

-- name: beat
-- Renews the lease. No row: this node no longer owns the callback.
UPDATE callbacks SET deadline = now() + $5::float8 * interval '1 second'
WHERE org_id = $1 AND id = $2 AND attempt = $3 AND node_id = $4 AND status = 'running' RETURNING id;

-- name: begin_attempt
-- Inserted before the POST. No row: this node no longer owns the callback.
WITH owned AS (
    UPDATE callbacks SET posts = posts + 1
    WHERE org_id = $1 AND id = $2 AND attempt = $3 AND node_id = $4 AND status = 'running'
    RETURNING org_id, project_id, id, posts
)
INSERT INTO callback_attempts (org_id, project_id, callback_id, number)
SELECT org_id, project_id, id, posts FROM owned RETURNING number;

-- name: end_attempt
UPDATE callback_attempts SET ended_at = clock_timestamp(), status_code = $4, error = $5
WHERE org_id = $1 AND callback_id = $2 AND number = $3;

-- name: settle
UPDATE callbacks SET status = $5, error = $6, node_id = NULL, deadline = NULL, ended_at = now()
WHERE org_id = $1 AND id = $2 AND attempt = $3 AND node_id = $4 AND status = 'running' RETURNING id;

-- name: postpone
-- Returns the callback to the queue after a failed attempt.
UPDATE callbacks
SET status = 'pending', error = $6, node_id = NULL, deadline = NULL,
    not_before = now() + $5::float8 * interval '1 second'
WHERE org_id = $1 AND id = $2 AND attempt = $3 AND node_id = $4 AND status = 'running' RETURNING id;

-- name: give_back
-- Of all tenants.
-- Called when this node stops: releases its callbacks, and this attempt does not count.
UPDATE callbacks
SET status = 'pending', node_id = NULL, deadline = NULL, not_before = now(), attempt = greatest(attempt - 1, 0)
WHERE node_id = $1 AND status = 'running';

-- name: unended
-- Of all tenants: callbacks of ended runs that are still waiting.
SELECT status, count(*) FROM callbacks WHERE status IN ('pending', 'running') GROUP BY status;

-- name: app
SELECT project_id FROM apps WHERE org_id = $1 AND id = $2 FOR NO KEY UPDATE;

-- name: secrets
-- The secrets that an app signs with now, newest first.
SELECT * FROM app_signing_secrets WHERE org_id = $1 AND app_id = $2 AND (expires_at IS NULL OR expires_at > now())
ORDER BY expires_at IS NOT NULL, created_at DESC;

-- name: insert_secret
INSERT INTO app_signing_secrets (org_id, project_id, id, app_id, secret) VALUES ($1, $2, $3, $4, $5);

-- name: replace_secret
-- The current secret gets an expiry; an older one that was about to expire is deleted.
WITH gone AS (
    DELETE FROM app_signing_secrets WHERE org_id = $1 AND app_id = $2 AND expires_at IS NOT NULL
)
UPDATE app_signing_secrets SET expires_at = now() + $3::float8 * interval '1 second'
WHERE org_id = $1 AND app_id = $2 AND expires_at IS NULL;
