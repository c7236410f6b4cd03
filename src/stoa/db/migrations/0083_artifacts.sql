-- Artifacts: documents that agents and people publish, in versions that never change. Their content is in blobs.

CREATE TABLE artifacts (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    id         uuid NOT NULL,
    store_id   uuid,                          -- a group of artifacts, as its client names it
    user_id    text,                          -- the end user it belongs to
    run_id     uuid,                          -- that made it, while the run is there
    owner_id   uuid DEFAULT stoa_user(),      -- who made it with a token of their own
    file_name  text NOT NULL,
    name       text NOT NULL,
    kind       text NOT NULL,
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, project_id) REFERENCES projects (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id) ON DELETE SET NULL (run_id)
);
CREATE INDEX artifacts_newest ON artifacts (org_id, project_id, updated_at DESC, id);
CREATE INDEX artifacts_of_user ON artifacts (org_id, project_id, user_id, updated_at DESC) WHERE user_id IS NOT NULL;
CREATE INDEX artifacts_of_run ON artifacts (org_id, run_id) WHERE run_id IS NOT NULL;

CREATE TABLE artifact_versions (
    org_id      uuid NOT NULL,
    project_id  uuid NOT NULL,
    id          uuid NOT NULL,
    artifact_id uuid NOT NULL,
    version     int NOT NULL,
    name        text NOT NULL,
    description text,
    mime_type   text NOT NULL,
    size        bigint NOT NULL,
    sha256      bytea NOT NULL,
    entry_path  text,
    run_id      uuid,
    created_by  uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, artifact_id) REFERENCES artifacts (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id) ON DELETE SET NULL (run_id),
    CONSTRAINT artifact_versions_in_order UNIQUE (org_id, artifact_id, version)
);
CREATE INDEX artifact_versions_by_content ON artifact_versions (org_id, project_id, sha256);
CREATE INDEX artifact_versions_of_run ON artifact_versions (org_id, run_id) WHERE run_id IS NOT NULL;

-- A link that anybody may open, until it is revoked or expires. Without a pinned version it shows the newest.
CREATE TABLE artifact_shares (
    org_id            uuid NOT NULL,
    project_id        uuid NOT NULL,
    id                uuid NOT NULL,
    artifact_id       uuid NOT NULL,
    pinned_version_id uuid,
    expires_at        timestamptz,
    created_by        uuid,
    created_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, artifact_id) REFERENCES artifacts (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, pinned_version_id) REFERENCES artifact_versions (org_id, id) ON DELETE CASCADE,
    CONSTRAINT artifact_shares_once UNIQUE (org_id, artifact_id)
);
CREATE UNIQUE INDEX artifact_shares_by_id ON artifact_shares (id);
CREATE INDEX artifact_shares_of_version ON artifact_shares (org_id, pinned_version_id) WHERE pinned_version_id IS NOT NULL;

ALTER TABLE artifacts ALTER COLUMN user_id SET STATISTICS 0, ALTER COLUMN file_name SET STATISTICS 0,
    ALTER COLUMN name SET STATISTICS 0;
ALTER TABLE artifact_versions ALTER COLUMN name SET STATISTICS 0, ALTER COLUMN description SET STATISTICS 0,
    ALTER COLUMN entry_path SET STATISTICS 0, ALTER COLUMN sha256 SET STATISTICS 0;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['artifacts', 'artifact_versions', 'artifact_shares'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO stoa_tenant'
            ' USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project())%s)', name,
            CASE name WHEN 'artifacts' THEN ' AND stoa_owns(owner_id)' ELSE '' END);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO stoa_tenant', name);
    END LOOP;
    EXECUTE 'CREATE TRIGGER captured AFTER INSERT OR DELETE ON artifacts FOR EACH ROW EXECUTE FUNCTION capture_change(''id'', ''kind,store_id'', '''')';
    EXECUTE 'CREATE TRIGGER captured AFTER INSERT OR DELETE ON artifact_versions FOR EACH ROW EXECUTE FUNCTION capture_change(''artifact_id'', ''id,version,mime_type,size'', '''')';
    EXECUTE 'CREATE TRIGGER captured AFTER INSERT OR DELETE ON artifact_shares FOR EACH ROW EXECUTE FUNCTION capture_change(''artifact_id'', ''id,pinned_version_id,expires_at'', '''')';
END $$;
