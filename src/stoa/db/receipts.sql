-- name: insert
INSERT INTO deletions (org_id, project_id, id, kind, subject_id, stores, blobs, file_ids, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: forget_answers
-- Remembered answers to requests about what was deleted.
WITH gone AS (DELETE FROM idempotency_keys WHERE org_id = $1 AND subject_id = ANY ($2::uuid[]) RETURNING 1)
SELECT count(*) FROM gone;

-- name: receipt
SELECT * FROM deletions WHERE org_id = $1 AND id = $2;

-- name: unverified
-- Of all tenants: a node may have died between the deletion and its proof, or the proof was too long for a request.
SELECT org_id, id FROM deletions
WHERE verified_at IS NULL AND kind = ANY ($1::text[]) AND created_at < now() - interval '5 seconds'
ORDER BY created_at LIMIT 100;

-- name: record_blobs
UPDATE deletions
SET stores = jsonb_set(stores, '{blobs}', jsonb_build_object('rows', $3::int, 'bytes', $4::bigint)), blobs = '{}'
WHERE org_id = $1 AND id = $2 AND blobs <> '{}';

-- name: verified
UPDATE deletions SET verified_at = now() WHERE org_id = $1 AND id = $2 AND verified_at IS NULL;
