-- Sessions of people in a browser, and links that open one once. Each stands for the access key that it was opened with: it
-- goes with that key, and may do what that key may do, no more and no longer.
CREATE TABLE sessions (
    org_id     uuid NOT NULL,
    project_id uuid,                                   -- the key's
    id         uuid NOT NULL,
    key_id     uuid NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('session', 'link')),
    hash       bytea NOT NULL UNIQUE,                  -- SHA-512 of the secret
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, key_id) REFERENCES access_keys ON DELETE CASCADE
);
CREATE INDEX sessions_of_key ON sessions (org_id, key_id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sessions TO stoa_tenant
    USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()));
GRANT SELECT, DELETE ON sessions TO stoa_tenant;
