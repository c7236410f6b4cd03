-- Each finds violations: $1 is an organization or NULL for all, $2 the earliest time or NULL, $3 (if there is one) the
-- latest time.

-- name: positions
-- Conversations whose own and shared messages are not at positions 1, 2, 3 … up to their count.
SELECT c.org_id, c.id AS subject, format('it counts %s messages, but holds %s, up to position %s', c.message_count,
    m.held, m.last) AS detail
FROM conversations c CROSS JOIN LATERAL (
    SELECT count(*) AS held, coalesce(max(position), 0) AS last, coalesce(min(position), 1) AS first FROM shown_messages
    WHERE org_id = c.org_id AND shown_in = c.id
) m
WHERE ($1::uuid IS NULL OR c.org_id = $1) AND ($2::timestamptz IS NULL OR c.updated_at >= $2)
  AND ($3::timestamptz IS NULL OR c.updated_at < $3)
  AND (m.held <> c.message_count OR m.last <> c.message_count OR m.first <> 1);

-- name: runless
-- Messages whose run does not exist.
SELECT m.org_id, m.id AS subject, format('%s message of run %s, which is gone', m.role, m.run_id) AS detail
    FROM messages m
WHERE m.run_id IS NOT NULL AND ($1::uuid IS NULL OR m.org_id = $1) AND ($2::timestamptz IS NULL OR m.created_at >= $2)
  AND ($3::timestamptz IS NULL OR m.created_at < $3)
  AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.org_id = m.org_id AND r.id = m.run_id);

-- name: unread_for_long
-- Files that should have been read, or marked as failed, long ago.
SELECT f.org_id, f.id AS subject, format('%s, pending since %s', f.name, f.created_at::timestamptz(0)) AS detail
    FROM files f
WHERE f.status = 'pending' AND f.created_at < now() - interval '15 minutes'
  AND ($1::uuid IS NULL OR f.org_id = $1) AND ($2::timestamptz IS NULL OR f.created_at >= $2);

-- name: unproven
-- Deletions that are not verified minutes later.
SELECT d.org_id, d.id AS subject, format('of the %s %s, at %s', replace(d.kind, '_', ' '), d.subject_id,
    d.created_at::timestamptz(0)) AS detail FROM deletions d
WHERE d.verified_at IS NULL AND d.created_at < now() - interval '2 minutes'
  AND ($1::uuid IS NULL OR d.org_id = $1) AND ($2::timestamptz IS NULL OR d.created_at >= $2);

-- name: idempotency_keys
-- Idempotency keys of conversations or files whose conversation does not exist.
SELECT k.org_id, k.key AS subject, format('%s %s', k.route, CASE WHEN k.answer IS NULL THEN 'has no answer'
    ELSE 'names a conversation that is gone' END) AS detail
FROM idempotency_keys k
WHERE (k.route IN ('conversations', 'fork') OR k.route LIKE 'files/%') AND ($1::uuid IS NULL OR k.org_id = $1)
    AND ($2::timestamptz IS NULL OR k.created_at >= $2)
  AND NOT EXISTS (SELECT 1 FROM conversations c WHERE c.org_id = k.org_id AND c.id = k.subject_id);

-- name: contents
-- Every content that a file has, once.
SELECT DISTINCT org_id, project_id, sha256 FROM files WHERE ($1::uuid IS NULL OR org_id = $1)
    AND ($2::timestamptz IS NULL OR created_at >= $2);

-- name: give_up
-- Marks an unread file as failed, with an error for its owner.
UPDATE files SET status = 'failed', error = $3 WHERE org_id = $1 AND id = $2 AND status = 'pending'
    AND created_at < now() - interval '15 minutes'
RETURNING id;

-- name: forget
-- Deletes an idempotency key without its object.
DELETE FROM idempotency_keys k WHERE k.org_id = $1 AND k.key = $2 AND (k.route IN ('conversations', 'fork')
    OR k.route LIKE 'files/%')
  AND NOT EXISTS (SELECT 1 FROM conversations c WHERE c.org_id = k.org_id AND c.id = k.subject_id)
RETURNING k.key;
