-- name: cached
-- A cached answer that is not older than the caller allows, and its age in seconds.
SELECT model, content_type, content, extract(epoch FROM now() - created_at)::float8 AS age FROM cached_answers
WHERE org_id = $1 AND project_id = $2 AND digest = $3 AND created_at > now() - make_interval(secs => $4);

-- name: keep
-- Caches an answer, unless its key is deleted; keeps no more than $8 of a project.
WITH oldest AS (
    DELETE FROM cached_answers WHERE org_id = $1 AND project_id = $2 AND digest IN (
        SELECT digest FROM cached_answers WHERE org_id = $1 AND project_id = $2 AND digest <> $3
            ORDER BY created_at DESC OFFSET $8 - 1)
)
INSERT INTO cached_answers (org_id, project_id, digest, key_id, model, content_type, content)
SELECT $1, $2, $3, k.id, $5, $6, $7 FROM access_keys k WHERE k.org_id = $1 AND k.id = $4 FOR KEY SHARE
ON CONFLICT (org_id, project_id, digest) DO UPDATE
SET key_id = excluded.key_id, model = excluded.model, content_type = excluded.content_type, content = excluded.content,
    created_at = now();

-- name: project_of_caller
SELECT id FROM projects WHERE org_id = $1 AND id = $2;

-- name: clear
-- Deletes the cached answers of a project; returns their number and bytes.
WITH gone AS (DELETE FROM cached_answers WHERE org_id = $1 AND project_id = $2 RETURNING octet_length(content) AS size)
SELECT count(*) AS rows, coalesce(sum(size), 0)::bigint AS bytes FROM gone;

-- name: forget_old
-- Of all tenants.
DELETE FROM cached_answers WHERE created_at < now() - make_interval(secs => $1);
