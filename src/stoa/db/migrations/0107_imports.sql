-- Imports of projects: what was uploaded of an export, until it is applied in one transaction or dropped.

CREATE TABLE imports (
    org_id          uuid NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    project_id      uuid NOT NULL,                       -- that the import will make; it keeps its id
    id              uuid NOT NULL,
    status          text NOT NULL DEFAULT 'receiving' CHECK (status IN ('receiving', 'applied')),
    manifest        jsonb NOT NULL,
    manifest_sha256 bytea NOT NULL,
    report          jsonb,
    created_by      uuid NOT NULL,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    applied_at      timestamptz,
    PRIMARY KEY (org_id, id)
);
CREATE UNIQUE INDEX imports_of_manifest ON imports (org_id, manifest_sha256) WHERE status = 'receiving';
CREATE INDEX imports_newest ON imports (org_id, created_at DESC, id);
CREATE INDEX imports_of_project ON imports (org_id, project_id);
CREATE INDEX imports_by_end ON imports (expires_at) WHERE status = 'receiving';

CREATE TABLE import_parts (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    import_id  uuid NOT NULL,
    number     int NOT NULL,
    content    bytea NOT NULL,
    PRIMARY KEY (org_id, import_id, number),
    FOREIGN KEY (org_id, import_id) REFERENCES imports (org_id, id) ON DELETE CASCADE
);
CREATE INDEX import_parts_of_project ON import_parts (org_id, project_id);
ALTER TABLE import_parts ALTER COLUMN content SET STORAGE EXTERNAL, ALTER COLUMN content SET STATISTICS 0;
ALTER TABLE imports ALTER COLUMN manifest SET STATISTICS 0;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['imports', 'import_parts'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO stoa_tenant'
            ' USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO stoa_tenant', name);
    END LOOP;
END $$;

-- An import writes what workers write else, within its own project, and numbers anew what the database numbers.
GRANT INSERT ON run_nodes TO stoa_tenant;
GRANT USAGE ON SEQUENCE model_calls_id_seq, knowledge_indexes_index_id_seq TO stoa_tenant;

-- Of some ids those that another organization has: an id names one thing on a server, whatever a file says.
CREATE FUNCTION ids_elsewhere(p_table regclass, p_org uuid, p_ids uuid[]) RETURNS uuid[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path TO 'pg_catalog', 'public', 'pg_temp'
AS $$
DECLARE
    found uuid[];
BEGIN
    EXECUTE format(
        'SELECT array_agg(t.id) FROM (SELECT id FROM orgs WHERE id <> $1) o CROSS JOIN unnest($2) AS asked (id)'
        ' JOIN %s t ON t.org_id = o.id AND t.id = asked.id', p_table) INTO found USING p_org, p_ids;
    RETURN found;
END $$;
REVOKE ALL ON FUNCTION ids_elsewhere(regclass, uuid, uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ids_elsewhere(regclass, uuid, uuid[]) TO stoa_tenant;
