-- Tools that a project's agents may call.
CREATE TABLE tools (
    org_id           uuid NOT NULL,
    project_id       uuid NOT NULL,
    id               uuid NOT NULL,
    name             text NOT NULL,
    type             text NOT NULL CHECK (type IN ('http', 'python')),
    description      text NOT NULL,
    config           jsonb NOT NULL,
    secrets          bytea,                                  -- encrypted; never leaves the server
    secret_names     text[] NOT NULL DEFAULT '{}',
    idempotent       boolean NOT NULL,
    approval         boolean NOT NULL,
    editable_params  text[] NOT NULL,
    timeout_seconds  float8 NOT NULL,
    output_bytes_max int NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, project_id) REFERENCES projects ON DELETE CASCADE
);
CREATE UNIQUE INDEX tools_by_name ON tools (org_id, project_id, name);
ALTER TABLE tools ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tools TO stoa_tenant USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()));
GRANT SELECT, INSERT, UPDATE, DELETE ON tools TO stoa_tenant;
