-- name: columns
-- The columns of exported tables, from PostgreSQL's catalogue, with their positions in the primary key.
SELECT c.relname::text AS "table", a.attname::text AS "column", format_type(a.atttypid, a.atttypmod) AS type,
       array_position(k.conkey, a.attnum) AS place
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY ($1::text[])
ORDER BY c.relname, a.attnum;

-- name: references
-- Which table refers to which, by foreign keys.
SELECT DISTINCT c.relname::text AS "table", f.relname::text AS named, a.attname::text AS "column"
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_class f ON f.oid = k.confrelid
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (k.conkey)
WHERE k.contype = 'f' AND c.relnamespace = 'public'::regnamespace AND c.relname = ANY ($1::text[])
ORDER BY 1, 2, 3;

-- name: project
SELECT id, name, description, visibility FROM projects WHERE org_id = $1 AND id = $2;

-- name: kept_days
SELECT retention_days FROM projects WHERE org_id = $1 AND id = $2;

-- name: operators_models
-- The server's own models that a project uses. They are not part of an export.
SELECT m.id, m.slug FROM models m WHERE m.org_id IS NULL AND m.id IN (
    SELECT model_id FROM conversations WHERE org_id = $1 AND project_id = $2
    UNION SELECT model_id FROM runs WHERE org_id = $1 AND project_id = $2
    UNION SELECT model_id FROM app_deployments WHERE org_id = $1 AND project_id = $2)
ORDER BY m.slug;

-- name: insert_import
-- The import of a manifest. The first request creates it.
INSERT INTO imports (org_id, project_id, id, manifest, manifest_sha256, created_by, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (org_id, manifest_sha256) WHERE status = 'receiving' DO NOTHING;

-- name: import_of_manifest
SELECT id FROM imports WHERE org_id = $1 AND manifest_sha256 = $2 AND status = 'receiving';

-- name: applied_before
-- The import that created a project, while the project exists.
SELECT i.id FROM imports i WHERE i.org_id = $1 AND i.manifest_sha256 = $2 AND i.status = 'applied'
    AND EXISTS (SELECT FROM projects p WHERE p.org_id = i.org_id AND p.id = i.project_id)
ORDER BY i.applied_at DESC LIMIT 1;

-- name: import_
SELECT i.id, i.project_id, i.status, i.manifest, i.report, i.created_by, i.created_at, i.expires_at, i.applied_at,
       ARRAY(SELECT p.number FROM import_parts p WHERE p.org_id = i.org_id AND p.import_id = i.id
             ORDER BY p.number) AS received
FROM imports i WHERE i.org_id = $1 AND i.id = $2;

-- name: lock_import
SELECT status FROM imports WHERE org_id = $1 AND id = $2 FOR UPDATE;

-- name: list_imports
SELECT i.id, i.project_id, i.status, i.manifest - 'parts' - 'tables' AS manifest, i.report, i.created_by, i.created_at,
       i.expires_at, i.applied_at, '{}'::int[] AS received
FROM imports i WHERE i.org_id = $1 ORDER BY i.created_at DESC, i.id LIMIT $2 OFFSET $3;

-- name: count_imports
SELECT count(*) FROM (SELECT FROM imports WHERE org_id = $1 LIMIT 10001) counted;

-- name: waiting_imports
SELECT count(*) FROM imports WHERE org_id = $1 AND status = 'receiving';

-- name: part_of_manifest
SELECT status, CASE WHEN $3::int >= 0 THEN manifest -> 'parts' -> $3::int END AS part,
       jsonb_array_length(manifest -> 'parts') AS parts
FROM imports WHERE org_id = $1 AND id = $2;

-- name: insert_part
-- An existing part is kept: it has the same hash.
INSERT INTO import_parts (org_id, project_id, import_id, number, content)
SELECT org_id, project_id, id, $3, $4 FROM imports WHERE org_id = $1 AND id = $2
ON CONFLICT DO NOTHING;

-- name: part
SELECT content FROM import_parts WHERE org_id = $1 AND import_id = $2 AND number = $3;

-- name: drop_parts
DELETE FROM import_parts WHERE org_id = $1 AND import_id = $2;

-- name: drop_import
DELETE FROM imports WHERE org_id = $1 AND id = $2 AND status = 'receiving' RETURNING id;

-- name: drop_expired
-- Of all organizations. Their parts are deleted by cascade.
DELETE FROM imports WHERE status = 'receiving' AND expires_at <= $1;

-- name: applied
UPDATE imports SET status = 'applied', report = $3, applied_at = $4 WHERE org_id = $1 AND id = $2;

-- name: one_at_a_time
SELECT pg_try_advisory_xact_lock(hashtextextended('stoa.transfer', 0));

-- name: prepare
-- The tests check inserts of runs against the table of states. An imported run has passed its states elsewhere, so this
-- setting exempts it.
SELECT set_config('stoa.importing', 'on', true);

-- name: numbers
-- Old number → new number, for columns with a sequence. Dropped at the end of the transaction.
CREATE TEMPORARY TABLE import_numbers (of text, old bigint, new bigint, PRIMARY KEY (of, old)) ON COMMIT DROP;

-- name: forget_changes
-- Triggers collect changed rows for the audit entry. This discards them: the entry of an import has a summary instead.
SELECT set_config('stoa.changes', '', true);

-- name: insert_project
INSERT INTO projects (org_id, id, name, description, visibility) VALUES ($1, $2, $3, $4, $5);

-- name: elsewhere
-- Those of the given ids that exist in another organization, for a table whose primary key is (org_id, id).
SELECT unnest(ids_elsewhere($1::text::regclass, $2, $3::uuid[])) AS id LIMIT 1;

-- name: models_here
-- The server's own models. The project's own models are part of the import.
SELECT id, slug FROM models WHERE org_id IS NULL AND (id = ANY ($1::uuid[]) OR slug = ANY ($2::text[]));
