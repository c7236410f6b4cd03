-- The audit: who did what, from where, with what before and after; chained by hashes per organization (decision 32).

ALTER TABLE audit ADD COLUMN request_id text;
ALTER TABLE audit ADD COLUMN method text;
ALTER TABLE audit ADD COLUMN path text;
ALTER TABLE audit ADD COLUMN address text;         -- of the client, as this server sees it
ALTER TABLE audit ADD COLUMN client text;          -- its User-Agent
ALTER TABLE audit ADD COLUMN changes jsonb;        -- [{table, before, after, hidden}]: columns that may be shown, and names of others that changed
ALTER TABLE audit ADD COLUMN sequence bigint;      -- its place in the chain; NULL until it is sealed, a moment after its commit
ALTER TABLE audit ADD COLUMN hash bytea;           -- SHA-256 over the hash before it and the line
CREATE UNIQUE INDEX audit_chain ON audit (org_id, sequence) WHERE sequence IS NOT NULL;
CREATE INDEX audit_unsealed ON audit (org_id, id) WHERE sequence IS NULL;
CREATE INDEX audit_of_subject ON audit (org_id, subject_id, id);
GRANT SELECT ON audit TO stoa_tenant;

CREATE TABLE audit_heads (
    org_id   uuid PRIMARY KEY,
    sequence bigint NOT NULL,
    hash     bytea NOT NULL
);
ALTER TABLE audit_heads ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit_heads TO stoa_tenant USING (org_id = stoa_org());
GRANT SELECT ON audit_heads TO stoa_tenant;

-- A line is written once and sealed once.
CREATE FUNCTION keep_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.sequence IS NOT NULL
       OR to_jsonb(NEW) - '{sequence,hash}'::text[] <> to_jsonb(OLD) - '{sequence,hash}'::text[] THEN
        RAISE EXCEPTION 'audit lines never change';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION keep_audit();

-- Remembers a change of a row until the transaction's line of the audit takes it, in a setting of the transaction.
-- Arguments: the column that names the subject; the columns that may be shown; those whose names alone may be.
CREATE FUNCTION capture_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    subject text;
    before  jsonb;
    after   jsonb;
    hidden  text[];
    shown   text := 'SELECT to_jsonb(r) FROM (SELECT ($1).' || replace(TG_ARGV[1], ',', ', ($1).') || ') r';
    name    text;
    differs boolean;
BEGIN
    IF TG_OP = 'DELETE' THEN
        EXECUTE 'SELECT ($1).' || TG_ARGV[0] || '::text' INTO subject USING OLD;
    ELSE
        EXECUTE 'SELECT ($1).' || TG_ARGV[0] || '::text' INTO subject USING NEW;
        EXECUTE shown INTO after USING NEW;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        EXECUTE shown INTO before USING OLD;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        FOREACH name IN ARRAY string_to_array(coalesce(TG_ARGV[2], ''), ',') LOOP
            EXECUTE format('SELECT ($1).%1$I::text IS DISTINCT FROM ($2).%1$I::text', name) INTO differs USING OLD, NEW;
            hidden := CASE WHEN differs THEN hidden || name ELSE hidden END;
        END LOOP;
        SELECT jsonb_object_agg(o.key, o.value), jsonb_object_agg(o.key, n.value) INTO before, after
        FROM jsonb_each(before) o JOIN jsonb_each(after) n USING (key) WHERE o.value IS DISTINCT FROM n.value;
        IF before IS NULL AND hidden IS NULL THEN
            RETURN NULL;
        END IF;
    END IF;
    PERFORM set_config('stoa.changes', (coalesce(nullif(current_setting('stoa.changes', true), ''), '[]')::jsonb
        || jsonb_build_array(jsonb_build_object('subject', subject, 'change',
            jsonb_strip_nulls(jsonb_build_object('table', TG_TABLE_NAME, 'before', before, 'after', after, 'hidden', hidden)))))::text, true);
    RETURN NULL;
END $$;

-- One line, with the changes of its subject that this transaction has made since the line before.
CREATE FUNCTION record_audit(
    p_org uuid, p_project uuid, p_key uuid, p_user uuid, p_action text, p_subject uuid,
    p_request text, p_method text, p_path text, p_address text, p_client text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    captured jsonb := nullif(current_setting('stoa.changes', true), '')::jsonb;
    own      jsonb;
    others   jsonb;
BEGIN
    IF captured IS NOT NULL THEN
        SELECT jsonb_agg(one -> 'change') FILTER (WHERE one ->> 'subject' = p_subject::text),
               jsonb_agg(one) FILTER (WHERE one ->> 'subject' IS DISTINCT FROM p_subject::text)
        INTO own, others FROM jsonb_array_elements(captured) one;
        PERFORM set_config('stoa.changes', coalesce(others::text, ''), true);
    END IF;
    INSERT INTO audit (org_id, project_id, key_id, user_id, action, subject_id, request_id, method, path, address, client, changes)
    VALUES (p_org, p_project, p_key, p_user, p_action, p_subject, p_request, p_method, p_path, p_address, p_client, own);
END $$;

-- What of each table may be shown. A column that is not named here is in no line: a new one has to be looked at.
DO $$
DECLARE
    one text[];
BEGIN
    FOREACH one SLICE 1 IN ARRAY ARRAY[
        ['orgs', 'id', 'name', ''],
        ['projects', 'id', 'name,description,visibility', ''],
        ['org_members', 'user_id', 'user_id,role', ''],
        ['project_members', 'user_id', 'user_id,project_id,role', ''],
        ['invitations', 'id', 'project_id,role,project_role,expires_at', 'hash'],
        ['access_keys', 'id', 'name,project_id,permissions,expires_at,rate_limit,spending_limit_usd,spending_period', ''],
        ['personal_tokens', 'id', 'user_id,name,expires_at', ''],
        ['connections', 'id', 'name,type', 'base_url,secret'],
        ['tools', 'id', 'name,type,idempotent,approval,secret_names', 'description,config,secrets'],
        ['knowledgebases', 'id', 'embedder,chunking,language,ocr', 'name,description,retriever'],
        ['knowledge_sources', 'id', 'provider,schedule,timezone,secret_names', 'name,config,metadata,secrets'],
        ['apps', 'id', 'name,access_type,latest_deployment_id,archived_at', 'description,deployment_config'],
        ['app_deployments', 'app_id', 'id,workflow_id,workflow_version_id', ''],
        ['triggers', 'id', 'name,provider,status,config,actor_id', 'input_transformer,signing_secret,hook_hash']
    ] LOOP
        EXECUTE format('CREATE TRIGGER captured AFTER INSERT OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION capture_change(%L, %L, %L)',
            one[1], one[2], one[3], one[4]);
        EXECUTE format('CREATE TRIGGER captured_update AFTER UPDATE OF %s ON %I FOR EACH ROW EXECUTE FUNCTION capture_change(%L, %L, %L)',
            one[3] || CASE WHEN one[4] = '' THEN '' ELSE ',' || one[4] END, one[1], one[2], one[3], one[4]);
    END LOOP;
END $$;
