-- Workflows, their released versions, apps and their deployments (contract section 6).

CREATE TABLE workflows (
    org_id      uuid NOT NULL,
    project_id  uuid NOT NULL,
    id          uuid NOT NULL,
    name        text NOT NULL,
    description text,
    flow        json NOT NULL,   -- json, not jsonb: the text as it was sent, byte for byte
    flow_ui     json,
    versions    int NOT NULL DEFAULT 0,
    created_by  uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_by  uuid,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, project_id) REFERENCES projects (org_id, id) ON DELETE CASCADE
);
CREATE INDEX workflows_by_name ON workflows (org_id, project_id, name, id);

-- A released version never changes: nobody may update the table.
CREATE TABLE workflow_versions (
    org_id      uuid NOT NULL,
    project_id  uuid NOT NULL,
    id          uuid NOT NULL,
    workflow_id uuid NOT NULL,
    version     int NOT NULL,
    name        text NOT NULL,
    flow        json NOT NULL,
    flow_ui     json,
    agent       jsonb,           -- the checked definition, where the flow is the shorthand {"agent": …}
    created_by  uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, workflow_id, version),
    FOREIGN KEY (org_id, workflow_id) REFERENCES workflows (org_id, id) ON DELETE CASCADE
);

CREATE TABLE apps (
    org_id               uuid NOT NULL,
    project_id           uuid NOT NULL,
    id                   uuid NOT NULL,
    name                 text NOT NULL,
    description          text,
    access_type          text NOT NULL CHECK (access_type IN ('private', 'public')),
    deployment_config    jsonb NOT NULL DEFAULT '{}',
    runtime_id           text,
    latest_deployment_id uuid NOT NULL,
    created_by           uuid,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_by           uuid,
    updated_at           timestamptz NOT NULL DEFAULT now(),
    archived_by          uuid,
    archived_at          timestamptz,
    PRIMARY KEY (org_id, id),
    UNIQUE (id),                 -- a host's name holds the app's id alone
    FOREIGN KEY (org_id, project_id) REFERENCES projects (org_id, id) ON DELETE CASCADE
);
CREATE INDEX apps_by_name ON apps (org_id, project_id, name, id);

CREATE TABLE app_deployments (
    org_id              uuid NOT NULL,
    project_id          uuid NOT NULL,
    id                  uuid NOT NULL,
    app_id              uuid NOT NULL,
    workflow_id         uuid NOT NULL,
    workflow_version_id uuid NOT NULL,
    model_id            uuid REFERENCES models (id),   -- of the shorthand's agent
    models              jsonb NOT NULL DEFAULT '{}',   -- of a graph: the model of each node that has one, by the node's id
    created_by          uuid,
    created_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, app_id) REFERENCES apps (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, workflow_version_id) REFERENCES workflow_versions (org_id, id) ON DELETE CASCADE
);
CREATE INDEX app_deployments_of_app ON app_deployments (org_id, app_id, created_at DESC, id);
CREATE INDEX app_deployments_of_version ON app_deployments (org_id, workflow_version_id);
CREATE INDEX app_deployments_of_workflow ON app_deployments (org_id, workflow_id);
CREATE INDEX app_deployments_of_model ON app_deployments (model_id) WHERE model_id IS NOT NULL;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['workflows', 'workflow_versions', 'apps', 'app_deployments'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO stoa_tenant'
            ' USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()))', name);
        EXECUTE format('GRANT SELECT, INSERT, DELETE ON %I TO stoa_tenant', name);
    END LOOP;
    GRANT UPDATE ON workflows, apps TO stoa_tenant;
END $$;
