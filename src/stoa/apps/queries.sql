-- name: insert_workflow
INSERT INTO workflows (org_id, project_id, id, name, description, flow, flow_ui, created_by, updated_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8);

-- name: workflow
SELECT * FROM workflows WHERE org_id = $1 AND id = $2;

-- name: list_workflows
-- Without the flows.
SELECT id, project_id, name, description, versions, created_by, created_at, updated_by, updated_at
FROM workflows WHERE org_id = $1 AND ($2::uuid IS NULL OR project_id = $2) ORDER BY {order} LIMIT $3 OFFSET $4;

-- name: count_workflows
SELECT count(*) FROM (
    SELECT FROM workflows
    WHERE org_id = $1 AND ($2::uuid IS NULL OR project_id = $2) LIMIT 10001
) counted;

-- name: update_workflow
-- Name and description, where their flags are true.
UPDATE workflows SET name = CASE WHEN $3 THEN $4 ELSE name END, description = CASE WHEN $5 THEN $6 ELSE description END,
    updated_by = $7, updated_at = now()
WHERE org_id = $1 AND id = $2 RETURNING id;

-- name: save_flow
UPDATE workflows SET flow = $3, flow_ui = $4, updated_by = $5, updated_at = now() WHERE org_id = $1 AND id = $2
RETURNING id;

-- name: next_version
-- Takes the next version's number, stores its flow in the workflow, and locks the workflow.
UPDATE workflows SET versions = versions + 1, flow = $3, flow_ui = $4, updated_by = $5, updated_at = now()
WHERE org_id = $1 AND id = $2 RETURNING versions, project_id;

-- name: insert_version
INSERT INTO workflow_versions (org_id, project_id, id, workflow_id, version, name, flow, flow_ui, agent, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: version
SELECT * FROM workflow_versions WHERE org_id = $1 AND workflow_id = $2 AND id = $3;

-- name: latest_version
SELECT * FROM workflow_versions WHERE org_id = $1 AND workflow_id = $2 ORDER BY version DESC LIMIT 1;

-- name: version_before
SELECT * FROM workflow_versions WHERE org_id = $1 AND workflow_id = $2 AND version < $3 ORDER BY version DESC LIMIT 1;

-- name: released_flow
-- Of all tenants: what a run's graph is.
SELECT flow FROM workflow_versions WHERE org_id = $1 AND id = $2;

-- name: list_versions
-- Newest first, without the flows.
SELECT id, project_id, workflow_id, version, name, created_by, created_at FROM workflow_versions
WHERE org_id = $1 AND workflow_id = $2 ORDER BY version DESC LIMIT $3 OFFSET $4;

-- name: count_versions
SELECT count(*) FROM (SELECT FROM workflow_versions WHERE org_id = $1 AND workflow_id = $2 LIMIT 10001) counted;

-- name: insert_app
INSERT INTO apps (org_id, project_id, id, name, description, access_type, deployment_config, runtime_id,
                  latest_deployment_id, created_by, updated_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10);

-- name: insert_deployment
INSERT INTO app_deployments (org_id, project_id, id, app_id, workflow_id, workflow_version_id, model_id, models,
    created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: deploy
UPDATE apps SET latest_deployment_id = $3, updated_by = $4, updated_at = now() WHERE org_id = $1 AND id = $2;

-- name: app
-- With what it runs.
SELECT a.*, d.workflow_id, w.name AS workflow_name, v.id AS version_id, v.version, v.name AS version_name
FROM apps a
JOIN app_deployments d ON d.org_id = a.org_id AND d.id = a.latest_deployment_id
JOIN workflow_versions v ON v.org_id = d.org_id AND v.id = d.workflow_version_id
JOIN workflows w ON w.org_id = d.org_id AND w.id = d.workflow_id
WHERE a.org_id = $1 AND a.id = $2;

-- name: lock_app
SELECT id, project_id, archived_at FROM apps WHERE org_id = $1 AND id = $2 FOR UPDATE;

-- name: list_apps
SELECT a.*, d.workflow_id, w.name AS workflow_name, v.id AS version_id, v.version, v.name AS version_name
FROM (
    SELECT p.* FROM apps p
    WHERE p.org_id = $1 AND p.project_id = $2 AND ($3::uuid IS NULL OR EXISTS (
        SELECT FROM app_deployments l
        WHERE l.org_id = $1 AND l.id = p.latest_deployment_id AND l.workflow_id = $3))
      AND ($5::boolean OR (p.archived_at IS NOT NULL) = $4::boolean)
    ORDER BY {apps_order} LIMIT $6 OFFSET $7
) a
JOIN app_deployments d ON d.org_id = a.org_id AND d.id = a.latest_deployment_id
JOIN workflow_versions v ON v.org_id = d.org_id AND v.id = d.workflow_version_id
JOIN workflows w ON w.org_id = d.org_id AND w.id = d.workflow_id
ORDER BY {listed_order};

-- name: count_apps
SELECT count(*) FROM (
    SELECT FROM apps p
    WHERE p.org_id = $1 AND p.project_id = $2 AND ($3::uuid IS NULL OR EXISTS (
        SELECT FROM app_deployments l
        WHERE l.org_id = $1 AND l.id = p.latest_deployment_id AND l.workflow_id = $3))
      AND ($5::boolean OR (p.archived_at IS NOT NULL) = $4::boolean)
    LIMIT 10001
) counted;

-- name: update_app
-- The fields whose flags are true.
UPDATE apps SET name = CASE WHEN $3 THEN $4 ELSE name END, description = CASE WHEN $5 THEN $6 ELSE description END,
    access_type = coalesce($7, access_type), updated_by = $8, updated_at = now()
WHERE org_id = $1 AND id = $2 RETURNING id;

-- name: archive_app
UPDATE apps SET archived_at = CASE WHEN $3::boolean THEN coalesce(archived_at, now()) END,
    archived_by = CASE WHEN $3 THEN coalesce(archived_by, $4::uuid) END, updated_by = $4, updated_at = now()
WHERE org_id = $1 AND id = $2 RETURNING id;

-- name: delete_app
-- With its deployments, by cascade.
DELETE FROM apps WHERE org_id = $1 AND id = $2 RETURNING id;

-- name: list_deployments
-- An app's deployments, newest first.
SELECT d.*, w.name AS workflow_name, v.id AS version_id, v.version, v.name AS version_name
FROM (
    SELECT * FROM app_deployments
    WHERE org_id = $1 AND app_id = $2 ORDER BY created_at DESC, id LIMIT $3 OFFSET $4
) d
JOIN workflow_versions v ON v.org_id = d.org_id AND v.id = d.workflow_version_id
JOIN workflows w ON w.org_id = d.org_id AND w.id = d.workflow_id
ORDER BY d.created_at DESC, d.id;

-- name: deployment_before
-- The deployment $3; without it the newest one of another version than the app runs now.
SELECT d.*, w.name AS workflow_name, v.id AS version_id, v.version, v.name AS version_name
FROM app_deployments d
JOIN workflow_versions v ON v.org_id = d.org_id AND v.id = d.workflow_version_id
JOIN workflows w ON w.org_id = d.org_id AND w.id = d.workflow_id
WHERE d.org_id = $1 AND d.app_id = $2 AND CASE WHEN $3::uuid IS NOT NULL THEN d.id = $3 ELSE d.workflow_version_id <> (
    SELECT n.workflow_version_id
    FROM apps a JOIN app_deployments n ON n.org_id = a.org_id AND n.id = a.latest_deployment_id
    WHERE a.org_id = $1 AND a.id = $2) END
ORDER BY d.created_at DESC, d.id LIMIT 1;

-- name: count_deployments
SELECT count(*) FROM (SELECT FROM app_deployments WHERE org_id = $1 AND app_id = $2 LIMIT 10001) counted;

-- name: visible_app
-- The project of an app that the caller's scope holds.
SELECT project_id FROM apps WHERE org_id = $1 AND id = $2;

-- name: public_app
-- Of all tenants: the organization and project of a public app, for a request without a credential.
SELECT org_id, project_id FROM apps WHERE id = $1 AND access_type = 'public' AND archived_at IS NULL;

-- name: public_apps
-- Of all tenants: those of these apps that are public.
SELECT id FROM apps WHERE id = ANY ($1::uuid[]) AND access_type = 'public' AND archived_at IS NULL;
