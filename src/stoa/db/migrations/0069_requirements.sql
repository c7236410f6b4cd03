-- What an app needs of each of its end users before it runs for them: a connection of their own (contract section 5.1).

CREATE TABLE requirements (
    org_id      uuid NOT NULL,
    project_id  uuid NOT NULL,
    id          uuid NOT NULL,
    workflow_id uuid NOT NULL,
    name        text NOT NULL,
    type        text NOT NULL,
    title       text NOT NULL,
    description text,
    spec        jsonb NOT NULL,
    secret      bytea,                                  -- the client secret of an OAuth2 service, encrypted
    optional    boolean NOT NULL DEFAULT false,
    created_by  uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, workflow_id) REFERENCES workflows (org_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX requirements_by_name ON requirements (org_id, workflow_id, name);

-- What an end user has brought, of one app.
CREATE TABLE user_connections (
    org_id         uuid NOT NULL,
    project_id     uuid NOT NULL,
    id             uuid NOT NULL,
    app_id         uuid NOT NULL,
    requirement_id uuid NOT NULL,
    user_id        text NOT NULL,
    secret         bytea NOT NULL,                      -- the fields, as JSON, encrypted
    expires_at     timestamptz,                         -- of an access token
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, app_id, requirement_id, user_id),
    FOREIGN KEY (org_id, app_id) REFERENCES apps (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, requirement_id) REFERENCES requirements (org_id, id) ON DELETE CASCADE
);
CREATE INDEX user_connections_of_requirement ON user_connections (org_id, requirement_id);

-- An end user who was sent to an OAuth2 service and has not come back yet.
CREATE TABLE oauth_attempts (
    org_id         uuid NOT NULL,
    project_id     uuid NOT NULL,
    id             uuid NOT NULL,
    app_id         uuid NOT NULL,
    requirement_id uuid NOT NULL,
    user_id        text NOT NULL,
    state          bytea NOT NULL UNIQUE,               -- SHA-256
    browser        bytea NOT NULL,                      -- SHA-256 of the cookie of the browser that was sent
    verifier       bytea NOT NULL,                      -- of PKCE, encrypted
    redirect_uri   text NOT NULL,
    expires_at     timestamptz NOT NULL,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, app_id) REFERENCES apps (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, requirement_id) REFERENCES requirements (org_id, id) ON DELETE CASCADE
);
CREATE INDEX oauth_attempts_of_app ON oauth_attempts (org_id, app_id);
CREATE INDEX oauth_attempts_of_requirement ON oauth_attempts (org_id, requirement_id);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['requirements', 'user_connections', 'oauth_attempts'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO stoa_tenant'
            ' USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO stoa_tenant', name);
    END LOOP;
END $$;
