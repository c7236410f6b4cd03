-- name: key_to_change
-- Locked until the transaction ends.
SELECT * FROM access_keys WHERE org_id = $1 AND id = $2 FOR NO KEY UPDATE;

-- name: maker
-- Of a key that a key made: what the maker may do, and until when.
SELECT permissions, expires_at FROM access_keys WHERE org_id = $1 AND id = $2;

-- name: update_key
UPDATE access_keys SET name = $3, permissions = $4, expires_at = $5, rate_limit = $6, spending_limit_usd = $7,
    spending_period = $8, cache_seconds = $9, resumable_streams = $10
WHERE org_id = $1 AND id = $2 RETURNING *;

-- name: narrow_keys
-- Takes permissions away from keys; one that had all of its scope keeps the others.
UPDATE access_keys SET permissions = ARRAY(
    SELECT one FROM unnest(coalesce(permissions, $4::text[])) one WHERE one <> ALL ($3::text[]) ORDER BY one)
WHERE org_id = $1 AND id = ANY ($2::uuid[]);

-- name: manages_after
-- Whether a key is left that can manage all keys of the organization.
SELECT EXISTS (
    SELECT 1 FROM access_keys
    WHERE org_id = $1 AND project_id IS NULL AND (expires_at IS NULL OR expires_at > $2::timestamptz)
      AND (permissions IS NULL OR 'access:write' = ANY (permissions)));

-- name: end_with_successor
UPDATE access_keys SET successor_id = $3, expires_at = $4 WHERE org_id = $1 AND id = $2 RETURNING *;

-- name: adopt
-- What a rotated key made is its successor's from now on.
UPDATE access_keys SET created_by = $3 WHERE org_id = $1 AND created_by = $2 AND id <> $3;

-- name: copy_spending
-- A rotation gives no fresh budget.
INSERT INTO key_spending (org_id, project_id, key_id, day, part, usd)
SELECT org_id, project_id, $3, day, part, usd FROM key_spending WHERE org_id = $1 AND key_id = $2;

-- name: uses
-- Newest first.
SELECT * FROM key_uses WHERE org_id = $1 AND key_id = ANY ($2::uuid[]) ORDER BY last_at DESC;

-- name: store_uses
-- Of keys that still are there.
INSERT INTO key_uses AS u (org_id, project_id, key_id, address, client, first_at, last_at)
SELECT k.org_id, k.project_id, k.id, s.address, s.client, s.first_at, s.last_at
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[])
    AS s(org_id, key_id, address, client, first_at, last_at)
JOIN access_keys k ON k.org_id = s.org_id AND k.id = s.key_id
ORDER BY k.org_id, k.id, s.address, s.client
ON CONFLICT (org_id, key_id, address, client) DO UPDATE
SET first_at = least(u.first_at, excluded.first_at), last_at = greatest(u.last_at, excluded.last_at);

-- name: prune_uses
-- Keeps the newest $3 of each of these keys ($1 their organizations, $2 their ids), and none from before $4.
DELETE FROM key_uses u USING (
    SELECT org_id, key_id, address, client,
           row_number() OVER (PARTITION BY org_id, key_id ORDER BY last_at DESC) AS place
    FROM unnest($1::uuid[], $2::uuid[]) AS asked (org_id, key_id) JOIN key_uses USING (org_id, key_id)
) ranked
WHERE u.org_id = ranked.org_id AND u.key_id = ranked.key_id AND u.address = ranked.address AND u.client = ranked.client
  AND (ranked.place > $3 OR u.last_at < $4);
