-- name: claim
-- Takes a key that is free or older than a day; true if it was taken.
INSERT INTO idempotency_keys AS old (org_id, project_id, scope, key, route, body_sha256)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (org_id, scope, key) DO UPDATE
SET route = excluded.route, body_sha256 = excluded.body_sha256, answer = NULL, subject_id = NULL, created_at = now()
WHERE old.created_at < now() - interval '24 hours'
RETURNING true;

-- name: first
-- The first request with this key, and its response.
SELECT route, body_sha256, answer FROM idempotency_keys WHERE org_id = $1 AND scope = $2 AND key = $3;

-- name: record
-- Stores the response for repetitions.
UPDATE idempotency_keys SET answer = $4, subject_id = $5 WHERE org_id = $1 AND scope = $2 AND key = $3;

-- name: replace
-- Replaces the response if it has not changed since it was read.
UPDATE idempotency_keys SET answer = $5, subject_id = $6
WHERE org_id = $1 AND scope = $2 AND key = $3 AND answer = $4
RETURNING true;

-- name: sweep
-- Of all tenants.
-- Deletes expired responses.
DELETE FROM idempotency_keys WHERE created_at < now() - interval '24 hours';
