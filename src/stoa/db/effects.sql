-- name: found
SELECT result FROM tool_effects WHERE org_id = $1 AND run_id = $2 AND call_id = $3;

-- name: record
INSERT INTO tool_effects (org_id, project_id, run_id, call_id, result) VALUES ($1, $2, $3, $4, $5);
