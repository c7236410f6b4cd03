-- name: insert_requirement
INSERT INTO requirements (org_id, project_id, id, workflow_id, name, type, title, description, spec, secret, optional,
    created_by)
SELECT w.org_id, w.project_id, $2, w.id, $4, $5, $6, $7, $8, $9, $10, $11
FROM workflows w WHERE w.org_id = $1 AND w.id = $3
ON CONFLICT (org_id, workflow_id, name) DO NOTHING RETURNING *;

-- name: workflow
SELECT id FROM workflows WHERE org_id = $1 AND id = $2;

-- name: requirement
SELECT * FROM requirements WHERE org_id = $1 AND workflow_id = $2 AND id = $3;

-- name: list_requirements
SELECT * FROM requirements WHERE org_id = $1 AND workflow_id = $2 ORDER BY created_at, id LIMIT $3 OFFSET $4;

-- name: count_requirements
SELECT count(*) FROM (SELECT FROM requirements WHERE org_id = $1 AND workflow_id = $2 LIMIT 10001) counted;

-- name: update_requirement
UPDATE requirements SET title = $4, description = $5, optional = $6, updated_at = now()
WHERE org_id = $1 AND workflow_id = $2 AND id = $3 RETURNING *;

-- name: delete_requirement
-- What users have connected for it is deleted by cascade.
DELETE FROM requirements WHERE org_id = $1 AND workflow_id = $2 AND id = $3 RETURNING id;

-- name: held
-- The requirements of the app's workflow, in order, with what this end user has connected for each.
SELECT r.*, c.id AS connection_id, c.secret AS connection_secret, c.expires_at AS connection_expires_at
FROM apps a
JOIN app_deployments d ON d.org_id = a.org_id AND d.id = a.latest_deployment_id
JOIN requirements r ON r.org_id = a.org_id AND r.workflow_id = d.workflow_id
LEFT JOIN user_connections c ON c.org_id = r.org_id AND c.app_id = a.id AND c.requirement_id = r.id AND c.user_id = $3
WHERE a.org_id = $1 AND a.id = $2 ORDER BY r.created_at, r.id;

-- name: flow
-- The flow that the app's latest deployment runs.
SELECT v.flow FROM apps a
JOIN app_deployments d ON d.org_id = a.org_id AND d.id = a.latest_deployment_id
JOIN workflow_versions v ON v.org_id = d.org_id AND v.id = d.workflow_version_id
WHERE a.org_id = $1 AND a.id = $2;

-- name: app
SELECT id FROM apps WHERE org_id = $1 AND id = $2 AND archived_at IS NULL;

-- name: connect
INSERT INTO user_connections AS c (org_id, project_id, id, app_id, requirement_id, user_id, secret, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (org_id, app_id, requirement_id, user_id)
DO UPDATE SET id = excluded.id, secret = excluded.secret, expires_at = excluded.expires_at, updated_at = now();

-- name: renew
-- Does nothing if another node has renewed the token, or the user has reconnected, meanwhile.
UPDATE user_connections SET secret = $3, expires_at = $4, updated_at = now()
WHERE org_id = $1 AND id = $2 AND secret = $5 RETURNING id;

-- name: connection_secret
SELECT secret FROM user_connections WHERE org_id = $1 AND id = $2;

-- name: disconnect
DELETE FROM user_connections WHERE org_id = $1 AND app_id = $2 AND requirement_id = $3 AND user_id = $4 RETURNING id;

-- name: drop_connection
DELETE FROM user_connections WHERE org_id = $1 AND id = $2 AND secret = $3 RETURNING id;

-- name: insert_attempt
INSERT INTO oauth_attempts (org_id, project_id, id, app_id, requirement_id, user_id, state, browser, verifier,
    redirect_uri, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: forget_attempts
-- Deletes an app's expired OAuth2 attempts.
DELETE FROM oauth_attempts WHERE org_id = $1 AND app_id = $2 AND expires_at < now();

-- name: take_attempt
-- Of all tenants, by the OAuth2 state, which only the browser and the service know. An attempt can be taken once.
DELETE FROM oauth_attempts a USING requirements r
WHERE a.state = $1 AND r.org_id = a.org_id AND r.id = a.requirement_id
RETURNING a.org_id, a.project_id, a.id AS attempt_id, a.app_id, a.user_id, a.browser, a.verifier, a.redirect_uri,
          a.expires_at, r.workflow_id, r.id AS requirement_id;
