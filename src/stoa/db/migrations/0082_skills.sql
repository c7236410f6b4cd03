-- Skills: instructions that agents read when they need them, in versions that never change.

CREATE TABLE skills (
    org_id      uuid NOT NULL,
    project_id  uuid NOT NULL,
    id          uuid NOT NULL,
    name        text NOT NULL,
    description text NOT NULL,
    created_by  uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, project_id) REFERENCES projects (org_id, id) ON DELETE CASCADE,
    CONSTRAINT skills_by_name UNIQUE (org_id, project_id, name)
);

CREATE TABLE skill_versions (
    org_id       uuid NOT NULL,
    project_id   uuid NOT NULL,
    id           uuid NOT NULL,
    skill_id     uuid NOT NULL,
    version      int NOT NULL,
    description  text NOT NULL,
    instructions text NOT NULL,
    archive      bytea,                      -- the ZIP that was uploaded; NULL for instructions alone
    files        jsonb NOT NULL DEFAULT '[]', -- [{path, size}] of the archive
    created_by   uuid,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, skill_id) REFERENCES skills (org_id, id) ON DELETE CASCADE,
    CONSTRAINT skill_versions_in_order UNIQUE (org_id, skill_id, version)
);
ALTER TABLE skill_versions ALTER COLUMN archive SET STORAGE EXTERNAL; -- It is compressed already.
ALTER TABLE skills ALTER COLUMN description SET STATISTICS 0;
ALTER TABLE skill_versions ALTER COLUMN description SET STATISTICS 0, ALTER COLUMN instructions SET STATISTICS 0,
    ALTER COLUMN archive SET STATISTICS 0, ALTER COLUMN files SET STATISTICS 0;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['skills', 'skill_versions'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO stoa_tenant'
            ' USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO stoa_tenant', name);
    END LOOP;
    EXECUTE 'CREATE TRIGGER captured AFTER INSERT OR DELETE ON skills FOR EACH ROW EXECUTE FUNCTION capture_change(''id'', ''name'', ''description'')';
    EXECUTE 'CREATE TRIGGER captured_update AFTER UPDATE OF name, description ON skills FOR EACH ROW EXECUTE FUNCTION capture_change(''id'', ''name'', ''description'')';
    EXECUTE 'CREATE TRIGGER captured AFTER INSERT OR DELETE ON skill_versions FOR EACH ROW EXECUTE FUNCTION capture_change(''skill_id'', ''id,version'', '''')';
END $$;
