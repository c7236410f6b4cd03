-- name: insert_tool
INSERT INTO tools (org_id, project_id, id, name, type, description, config, secrets, secret_names, idempotent, approval, editable_params,
                   timeout_seconds, output_bytes_max)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING *;

-- name: update_tool
-- Everything but the name's owner; secrets that are left out stay.
UPDATE tools SET name = $3, type = $4, description = $5, config = $6, secrets = coalesce($7, secrets),
    secret_names = CASE WHEN $7 IS NULL THEN secret_names ELSE $8 END, idempotent = $9, approval = $10, editable_params = $11,
    timeout_seconds = $12, output_bytes_max = $13, updated_at = now()
WHERE org_id = $1 AND id = $2 RETURNING *;

-- name: tool
SELECT * FROM tools WHERE org_id = $1 AND id = $2;

-- name: list_tools
SELECT * FROM tools WHERE org_id = $1 ORDER BY {order} LIMIT $2 OFFSET $3;

-- name: count_tools
SELECT count(*) FROM tools WHERE org_id = $1;

-- name: names
-- Those of the names that are tools of the caller's.
SELECT DISTINCT name FROM tools WHERE org_id = $1 AND name = ANY ($2::text[]);

-- name: of_project
-- A project's tools by name, for the worker.
SELECT * FROM tools WHERE org_id = $1 AND project_id = $2 AND name = ANY ($3::text[]);

-- name: delete_tool
DELETE FROM tools WHERE org_id = $1 AND id = $2 RETURNING id;
