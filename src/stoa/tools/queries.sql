-- name: insert_tool
INSERT INTO tools (org_id, project_id, id, name, type, description, config, secrets, secret_names, idempotent, approval,
    editable_params, timeout_seconds, output_bytes_max)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING *;

-- name: update_tool
-- Updates everything except the owner; omitted secrets stay. Stored offers stay valid unless the server changes.
UPDATE tools SET name = $3, type = $4, description = $5, config = $6, secrets = coalesce($7, secrets),
    secret_names = CASE WHEN $7 IS NULL THEN secret_names ELSE $8 END, idempotent = $9, approval = $10,
    editable_params = $11,
    timeout_seconds = $12, output_bytes_max = $13, updated_at = now(),
    offers = CASE WHEN config = $6 THEN offers END, listed_at = CASE WHEN config = $6 THEN listed_at END,
    problem = CASE WHEN config = $6 THEN problem END
WHERE org_id = $1 AND id = $2 RETURNING *;

-- name: tool
SELECT * FROM tools WHERE org_id = $1 AND id = $2;

-- name: tool_to_change
-- With a row lock, so that the second of two concurrent changes sees the first.
SELECT * FROM tools WHERE org_id = $1 AND id = $2 FOR UPDATE;

-- name: tool_of_name
SELECT * FROM tools WHERE org_id = $1 AND project_id = $2 AND name = $3 FOR UPDATE;

-- name: tools_of_ids
SELECT * FROM tools WHERE org_id = $1 AND id = ANY ($2::uuid[]) ORDER BY name;

-- name: list_tools
SELECT * FROM tools WHERE org_id = $1 ORDER BY {order} LIMIT $2 OFFSET $3;

-- name: count_tools
SELECT count(*) FROM (SELECT FROM tools WHERE org_id = $1 LIMIT 10001) counted;

-- name: names
-- The tools of these names, and the MCP servers that they may come from.
SELECT DISTINCT name, type FROM tools
WHERE org_id = $1 AND (name = ANY ($2::text[]) OR type = 'mcp' AND name = ANY ($3::text[]));

-- name: of_project
-- A project's tools by name, and the MCP servers that the names may come from, for the worker.
SELECT *, listed_at IS NULL OR listed_at < now() - make_interval(secs => $5) AS stale FROM tools
WHERE org_id = $1 AND project_id = $2 AND (name = ANY ($3::text[]) OR type = 'mcp' AND name = ANY ($4::text[]));

-- name: store_offers
-- Stores a server's offers, unless the definition has changed since the request.
UPDATE tools SET offers = $4, listed_at = now(), problem = $5
WHERE org_id = $1 AND id = $2 AND updated_at = $3
RETURNING *;

-- name: store_problem
-- The server could not be asked: its earlier offers stay valid.
UPDATE tools SET problem = $4 WHERE org_id = $1 AND id = $2 AND updated_at = $3 RETURNING *;

-- name: delete_tool
DELETE FROM tools WHERE org_id = $1 AND id = $2 RETURNING id;
