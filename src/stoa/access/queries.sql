-- name: bootstrap_lock
-- The advisory lock of the node that creates the first organization.
SELECT pg_advisory_xact_lock(1398027105);

-- name: first_org
SELECT id FROM orgs ORDER BY created_at, id LIMIT 1;

-- name: insert_org
INSERT INTO orgs (id, name) VALUES ($1, $2);

-- name: insert_project
INSERT INTO projects (org_id, id, name, description, visibility, retention_days) VALUES ($1, $2, $3, $4, $5, $6)
RETURNING *;

-- name: insert_key
INSERT INTO access_keys (org_id, project_id, id, name, hash, preview, permissions, expires_at, created_by, rate_limit,
    spending_limit_usd, spending_period,
    cache_seconds, resumable_streams)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING *;

-- name: keys_by_hash
-- The owners of credentials: the look-up of every request, for all requests that wait.
SELECT
    hash, org_id, project_id, id, permissions, expires_at, rate_limit, spending_limit_usd, spending_period,
        cache_seconds,
    resumable_streams
FROM access_keys WHERE hash = ANY($1::bytea[]);

-- name: key_owner
-- The owner of a key that something signed names.
SELECT
    org_id, project_id, id, permissions, expires_at, rate_limit, spending_limit_usd, spending_period, cache_seconds,
    resumable_streams
FROM access_keys WHERE id = $1;

-- name: valid_keys
-- Those of the keys, tokens and sessions that are still valid at $2.
SELECT id FROM access_keys WHERE id = ANY($1::uuid[]) AND (expires_at IS NULL OR expires_at > $2)
UNION ALL SELECT id FROM personal_tokens WHERE id = ANY($1::uuid[]) AND (expires_at IS NULL OR expires_at > $2)
UNION ALL SELECT id FROM user_sessions WHERE id = ANY($1::uuid[]) AND expires_at > $2;

-- name: valid_owners
-- Those of the ids, each in its organization, that are valid keys, tokens or sessions at $3, or members.
SELECT o.org_id, o.id FROM unnest($1::uuid[], $2::uuid[]) AS o(org_id, id)
WHERE EXISTS (SELECT 1 FROM access_keys k
              WHERE k.org_id = o.org_id AND k.id = o.id AND (k.expires_at IS NULL OR k.expires_at > $3))
   OR EXISTS (SELECT 1 FROM personal_tokens t
              WHERE t.org_id = o.org_id AND t.id = o.id AND (t.expires_at IS NULL OR t.expires_at > $3))
   OR EXISTS (SELECT 1 FROM user_sessions s WHERE s.org_id = o.org_id AND s.id = o.id AND s.expires_at > $3)
   OR EXISTS (SELECT 1 FROM org_members m WHERE m.org_id = o.org_id AND m.user_id = o.id);

-- name: key
SELECT * FROM access_keys WHERE org_id = $1 AND id = $2;

-- name: list_keys
-- A page of keys; {order} is made of checked column names.
SELECT * FROM access_keys WHERE org_id = $1 ORDER BY {order} LIMIT $2 OFFSET $3;

-- name: count_keys
SELECT count(*) FROM (SELECT FROM access_keys WHERE org_id = $1 LIMIT 10001) counted;

-- name: share_org
-- Locks the organization against a revocation of keys: a key cannot make another one while it is being revoked.
SELECT id FROM orgs WHERE id = $1 FOR SHARE;

-- name: keys_to_revoke
-- A key, and with $3 all that it made, directly or through others, the oldest first.
WITH RECURSIVE family AS (
    SELECT id FROM access_keys WHERE org_id = $1 AND id = $2
    UNION
    SELECT k.id FROM access_keys k JOIN family f ON k.created_by = f.id WHERE k.org_id = $1 AND $3::bool
)
SELECT k.* FROM access_keys k JOIN family f ON f.id = k.id WHERE k.org_id = $1 ORDER BY k.created_at, k.id;

-- name: managers_left
-- Whether the organization keeps a key that can manage all of its keys without these.
SELECT EXISTS (
    SELECT 1 FROM access_keys
    WHERE org_id = $1 AND project_id IS NULL AND id <> ALL ($2::uuid[]) AND (expires_at IS NULL OR expires_at > now())
      AND (permissions IS NULL OR 'access:write' = ANY (permissions))
);

-- name: delete_keys
-- With what was counted for their limits. Their hashes stay, so that a restart does not make the first key again.
WITH spent AS (
    DELETE FROM key_spending WHERE org_id = $1 AND key_id = ANY ($2::uuid[])
), rates AS (
    DELETE FROM key_rates WHERE org_id = $1 AND key_id = ANY ($2::uuid[])
), gone AS (
    DELETE FROM access_keys WHERE org_id = $1 AND id = ANY ($2::uuid[]) RETURNING org_id, project_id, hash
)
INSERT INTO revoked_keys (org_id, project_id, hash) SELECT org_id, project_id, hash FROM gone ON CONFLICT DO NOTHING;

-- name: was_revoked
SELECT EXISTS (SELECT 1 FROM revoked_keys WHERE hash = $1);

-- name: admit
-- A token bucket of one minute's requests: admits a request and returns the seconds until the bucket is full again.
-- No row: it is empty. $3 is the seconds in which one request is refilled.
INSERT INTO key_rates AS r (org_id, key_id, busy_until)
    VALUES ($1, $2, clock_timestamp() + $3::float8 * interval '1 second')
ON CONFLICT (org_id, key_id) DO UPDATE
    SET busy_until = greatest(r.busy_until, clock_timestamp()) + $3::float8 * interval '1 second'
WHERE r.busy_until + $3::float8 * interval '1 second' <= clock_timestamp() + interval '1 minute 1 millisecond'
RETURNING extract(epoch FROM busy_until - clock_timestamp())::float8;

-- name: busy_seconds
SELECT greatest(extract(epoch FROM busy_until - clock_timestamp()), 0)::float8 FROM key_rates
    WHERE org_id = $1 AND key_id = $2;

-- name: home_project
-- The organization's first project: objects that an organization-wide key creates are in it.
SELECT id FROM projects WHERE org_id = $1 ORDER BY created_at, id LIMIT 1;

-- name: orgs
SELECT * FROM orgs WHERE id = $1;

-- name: project
SELECT * FROM projects WHERE org_id = $1 AND id = $2;

-- name: list_projects
-- A page of projects; {order} is made of checked column names.
SELECT * FROM projects WHERE org_id = $1 ORDER BY {order} LIMIT $2 OFFSET $3;

-- name: count_projects
SELECT count(*) FROM (SELECT FROM projects WHERE org_id = $1 LIMIT 10001) counted;

-- name: update_project
-- $7 says whether $6, how long conversations are kept, is meant.
UPDATE projects SET name = $3, description = $4, visibility = $5,
    retention_days = CASE WHEN $7::boolean THEN $6 ELSE retention_days END, updated_at = now()
WHERE org_id = $1 AND id = $2 RETURNING *;

-- name: project_in_use
-- Whether a project has any data.
SELECT EXISTS (SELECT 1 FROM conversations WHERE org_id = $1 AND project_id = $2)
    OR EXISTS (SELECT 1 FROM knowledgebases WHERE org_id = $1 AND project_id = $2)
    OR EXISTS (SELECT 1 FROM artifacts WHERE org_id = $1 AND project_id = $2)
    OR EXISTS (SELECT 1 FROM skills WHERE org_id = $1 AND project_id = $2)
    OR EXISTS (SELECT 1 FROM memories WHERE org_id = $1 AND project_id = $2)
    OR EXISTS (SELECT 1 FROM memory_stores WHERE org_id = $1 AND project_id = $2)
    OR EXISTS (SELECT 1 FROM connections WHERE org_id = $1 AND project_id = $2)
    OR EXISTS (SELECT 1 FROM access_keys WHERE org_id = $1 AND project_id = $2);

-- name: lock_org
-- Locked while projects are removed, so that the last one stays.
SELECT id FROM orgs WHERE id = $1 FOR NO KEY UPDATE;

-- name: delete_project
DELETE FROM projects WHERE org_id = $1 AND id = $2 RETURNING id;

-- name: insert_session
-- None if the key is revoked; waits for a concurrent revocation.
INSERT INTO sessions (org_id, project_id, id, key_id, kind, hash, created_at, expires_at)
SELECT k.org_id, k.project_id, $3, k.id, $4, $5, $6, $7 FROM access_keys k
WHERE k.org_id = $1 AND k.id = $2 FOR KEY SHARE
RETURNING id;

-- name: session_owner
-- The key of a session, while both are valid.
SELECT
    k.org_id, k.project_id, k.id, k.permissions, k.expires_at, k.rate_limit, k.spending_limit_usd, k.spending_period,
    k.cache_seconds, k.resumable_streams
FROM sessions s JOIN access_keys k ON k.org_id = s.org_id AND k.id = s.key_id
WHERE s.hash = $1 AND s.kind = 'session' AND s.expires_at > $2;

-- name: take_link
-- Consumes a sign-in link, and returns its key; only one of two concurrent requests gets it.
WITH taken AS (
    DELETE FROM sessions WHERE hash = $1 AND kind = 'link' RETURNING org_id, key_id, expires_at
)
SELECT
    k.org_id, k.project_id, k.id, k.permissions, k.expires_at, k.rate_limit, k.spending_limit_usd, k.spending_period,
    k.cache_seconds, k.resumable_streams
FROM taken t JOIN access_keys k ON k.org_id = t.org_id AND k.id = t.key_id WHERE t.expires_at > $2;

-- name: delete_session
DELETE FROM sessions WHERE hash = $1 AND kind = 'session';

-- name: delete_ended_sessions
DELETE FROM sessions WHERE expires_at <= $1;
