-- The hashes of keys that were revoked: an operator's first key that stands in a node's settings is not made again by a restart.
CREATE TABLE revoked_keys (
    org_id     uuid NOT NULL REFERENCES orgs ON DELETE CASCADE,
    project_id uuid,
    hash       bytea NOT NULL,
    revoked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, hash)
);
CREATE INDEX revoked_keys_by_hash ON revoked_keys (hash);
CREATE INDEX access_keys_by_creator ON access_keys (org_id, created_by);

ALTER TABLE revoked_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON revoked_keys TO stoa_tenant
    USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()));
GRANT SELECT, INSERT ON revoked_keys TO stoa_tenant;
