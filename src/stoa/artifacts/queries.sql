-- name: insert_artifact
INSERT INTO artifacts (org_id, project_id, id, store_id, user_id, run_id, file_name, name, kind, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: insert_artifact_version
-- Takes the next number. The caller has locked the artifact.
INSERT INTO artifact_versions (org_id, project_id, id, artifact_id, version, name, description, mime_type, size, sha256,
    entry_path, run_id, created_by)
VALUES ($1, $2, $3, $4,
    1 + coalesce((SELECT max(v.version) FROM artifact_versions v WHERE v.org_id = $1 AND v.artifact_id = $4), 0),
    $5, $6, $7, $8, $9, $10, $11, $12)
RETURNING *;

-- name: artifact
SELECT * FROM artifacts WHERE org_id = $1 AND id = $2;

-- name: lock_artifact
SELECT * FROM artifacts WHERE org_id = $1 AND id = $2 FOR NO KEY UPDATE;

-- name: touch_artifact
UPDATE artifacts SET name = $3, updated_at = now() WHERE org_id = $1 AND id = $2;

-- name: list_artifacts
-- {order} is made of checked column names.
SELECT * FROM artifacts a
WHERE org_id = $1 AND ($2::uuid IS NULL OR store_id = $2) AND ($3::text IS NULL OR user_id = $3)
  AND ($4::text IS NULL OR kind = $4) AND ($5::uuid IS NULL OR project_id = $5)
  AND ($6::uuid IS NULL OR run_id IN (
      SELECT o.id FROM runs r JOIN runs o ON o.org_id = r.org_id AND o.conversation_id = r.conversation_id
      WHERE r.org_id = $1 AND r.id = $6))
ORDER BY {order} LIMIT $7 OFFSET $8;

-- name: count_artifacts
SELECT count(*) FROM (
    SELECT FROM artifacts a
    WHERE org_id = $1 AND ($2::uuid IS NULL OR store_id = $2) AND ($3::text IS NULL OR user_id = $3)
      AND ($4::text IS NULL OR kind = $4) AND ($5::uuid IS NULL OR project_id = $5)
      AND ($6::uuid IS NULL OR run_id IN (
          SELECT o.id FROM runs r JOIN runs o ON o.org_id = r.org_id AND o.conversation_id = r.conversation_id
          WHERE r.org_id = $1 AND r.id = $6))
    LIMIT 10001
) counted;

-- name: newest_artifact_versions
SELECT v.* FROM unnest($2::uuid[]) AS a (id) CROSS JOIN LATERAL (
    SELECT * FROM artifact_versions WHERE org_id = $1 AND artifact_id = a.id ORDER BY version DESC LIMIT 1
) v;

-- name: artifact_shares
SELECT * FROM artifact_shares
WHERE org_id = $1 AND artifact_id = ANY ($2::uuid[]) AND (expires_at IS NULL OR expires_at > now());

-- name: list_artifact_versions
-- {order} is made of checked column names.
SELECT * FROM artifact_versions WHERE org_id = $1 AND artifact_id = $2 ORDER BY {order} LIMIT $3 OFFSET $4;

-- name: count_artifact_versions
SELECT count(*) FROM (SELECT FROM artifact_versions WHERE org_id = $1 AND artifact_id = $2 LIMIT 10001) counted;

-- name: artifact_version
-- By id or by number; the newest if neither is given.
SELECT * FROM artifact_versions
WHERE org_id = $1 AND artifact_id = $2 AND ($3::uuid IS NULL OR id = $3) AND ($4::int IS NULL OR version = $4)
ORDER BY version DESC LIMIT 1;

-- name: versions_of_run
-- What a run has published, in the order of publishing.
SELECT v.*, a.kind, a.file_name FROM artifact_versions v
JOIN artifacts a ON a.org_id = v.org_id AND a.id = v.artifact_id
WHERE v.org_id = $1 AND v.run_id = $2 ORDER BY v.created_at, v.id LIMIT 500;

-- name: delete_old_versions
DELETE FROM artifact_versions WHERE org_id = $1 AND id IN (
    SELECT id FROM artifact_versions WHERE org_id = $1 AND artifact_id = $2 ORDER BY version DESC OFFSET $3)
RETURNING sha256;

-- name: delete_artifact_versions
DELETE FROM artifact_versions WHERE org_id = $1 AND artifact_id = $2 RETURNING id, sha256;

-- name: delete_artifact
DELETE FROM artifacts WHERE org_id = $1 AND id = $2 RETURNING project_id;

-- name: artifact_content_in_use
SELECT EXISTS (SELECT 1 FROM artifact_versions WHERE org_id = $1 AND project_id = $2 AND sha256 = $3);

-- name: artifact_contents
-- Of all tenants.
-- All stored content, for the doctor.
SELECT DISTINCT org_id, project_id, sha256 FROM artifact_versions
WHERE ($1::uuid IS NULL OR org_id = $1) AND ($2::timestamptz IS NULL OR created_at >= $2);

-- name: share_artifact
-- An artifact has one link: sharing again changes its terms. An expired link is replaced by a new one.
INSERT INTO artifact_shares (org_id, project_id, id, artifact_id, pinned_version_id, expires_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (org_id, artifact_id) DO UPDATE SET pinned_version_id = excluded.pinned_version_id,
    expires_at = excluded.expires_at,
    id = CASE WHEN artifact_shares.expires_at <= now() THEN excluded.id ELSE artifact_shares.id END
RETURNING *;

-- name: unshare_artifact
DELETE FROM artifact_shares WHERE org_id = $1 AND artifact_id = $2 RETURNING id;

-- name: shared
-- Of all tenants: what a link shows.
SELECT v.*, a.kind, a.file_name FROM artifact_shares s
JOIN artifacts a ON a.org_id = s.org_id AND a.id = s.artifact_id
JOIN LATERAL (
    SELECT * FROM artifact_versions o WHERE o.org_id = s.org_id AND o.artifact_id = s.artifact_id
        AND (s.pinned_version_id IS NULL OR o.id = s.pinned_version_id)
    ORDER BY o.version DESC LIMIT 1) v ON true
WHERE s.id = $1 AND (s.expires_at IS NULL OR s.expires_at > now());
