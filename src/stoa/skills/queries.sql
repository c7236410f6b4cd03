-- name: insert_skill
INSERT INTO skills (org_id, project_id, id, name, description, created_by) VALUES ($1, $2, $3, $4, $5, $6);

-- name: insert_skill_version
-- Takes the next number. The caller has locked the skill.
INSERT INTO skill_versions (org_id, project_id, id, skill_id, version, description, instructions, archive, files,
    created_by)
SELECT s.org_id, s.project_id, $3, s.id,
       1 + coalesce((SELECT max(v.version) FROM skill_versions v WHERE v.org_id = $1 AND v.skill_id = $2), 0),
       $4, $5, $6, $7, $8
FROM skills s WHERE s.org_id = $1 AND s.id = $2;

-- name: skill
SELECT * FROM skills WHERE org_id = $1 AND id = $2;

-- name: lock_skill
SELECT * FROM skills WHERE org_id = $1 AND id = $2 FOR NO KEY UPDATE;

-- name: list_skills
-- {order} is made of checked column names.
SELECT * FROM skills WHERE org_id = $1 AND ($2::uuid IS NULL OR project_id = $2) ORDER BY {order} LIMIT $3 OFFSET $4;

-- name: count_skills
SELECT count(*) FROM skills WHERE org_id = $1 AND ($2::uuid IS NULL OR project_id = $2);

-- name: newest_versions
-- The newest version of each of these skills, without instructions and archive.
SELECT v.* FROM unnest($2::uuid[]) AS s (id) CROSS JOIN LATERAL (
    SELECT id, skill_id, version, description, '' AS instructions, files, created_by, created_at
    FROM skill_versions WHERE org_id = $1 AND skill_id = s.id ORDER BY version DESC LIMIT 1
) v;

-- name: update_skill
UPDATE skills SET name = $3, description = $4, updated_at = now() WHERE org_id = $1 AND id = $2;

-- name: list_versions
-- Without instructions and archive. {order} is made of checked column names.
SELECT id, skill_id, version, description, '' AS instructions, files, created_by, created_at
FROM skill_versions WHERE org_id = $1 AND skill_id = $2 ORDER BY {order} LIMIT $3 OFFSET $4;

-- name: count_versions
SELECT count(*) FROM skill_versions WHERE org_id = $1 AND skill_id = $2;

-- name: skill_version
-- By id or by number; the newest if neither is given.
SELECT id, skill_id, version, description, instructions, files, created_by, created_at
FROM skill_versions
WHERE org_id = $1 AND skill_id = $2 AND ($3::uuid IS NULL OR id = $3) AND ($4::int IS NULL OR version = $4)
ORDER BY version DESC LIMIT 1;

-- name: skill_archive
SELECT archive FROM skill_versions WHERE org_id = $1 AND id = $2;

-- name: delete_skill_versions
WITH gone AS (
    DELETE FROM skill_versions WHERE org_id = $1 AND skill_id = $2
    RETURNING octet_length(instructions) + coalesce(octet_length(archive), 0) AS bytes)
SELECT count(*) AS rows, coalesce(sum(bytes), 0)::bigint AS bytes FROM gone;

-- name: delete_skill
DELETE FROM skills WHERE org_id = $1 AND id = $2 RETURNING project_id, octet_length(description) AS bytes;

-- name: known_skills
SELECT id FROM skills WHERE org_id = $1 AND id = ANY ($2::uuid[]);
