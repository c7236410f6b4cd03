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

-- A session of an app is a conversation that is bound to it; so is a run without a session, alone in a conversation.
ALTER TABLE conversations ADD COLUMN session_id uuid;
ALTER TABLE runs ADD COLUMN session_id uuid;
ALTER TABLE runs ADD COLUMN deployment_id uuid;   -- what the app ran when the run began

-- As begin_run_v1, for conversations that are bound to an app too: such a run takes the app's latest deployment, and keeps
-- it. Raises 'app deleted' and 'app archived'.
CREATE FUNCTION begin_run_v2(
    p_org uuid, p_conversation uuid, p_run uuid, p_message uuid, p_position int, p_model uuid, p_content jsonb, p_text text, p_metadata jsonb,
    p_options jsonb, p_node uuid, p_key uuid, p_queued boolean, p_interrupting boolean, p_sequences int[], p_kinds smallint[], p_payloads bytea[]
) RETURNS runs LANGUAGE plpgsql AS $$
DECLARE
    place    record;
    deployed record;
    said     jsonb := p_options;
    model    uuid;
    runs_as  uuid;   -- the deployment
    made     runs;
BEGIN
    IF p_position IS NULL THEN
        UPDATE conversations SET message_count = message_count + 1, model_id = coalesce(p_model, model_id), updated_at = now()
        WHERE org_id = p_org AND id = p_conversation
        RETURNING message_count AS position, project_id, model_id, user_id, agent, app_id, session_id INTO place;
    ELSE
        SELECT p_position AS position, project_id, coalesce(p_model, model_id) AS model_id, user_id, agent, app_id, session_id INTO place
        FROM conversations WHERE org_id = p_org AND id = p_conversation;
    END IF;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    model := place.model_id;
    IF place.app_id IS NOT NULL THEN
        SELECT d.id, d.model_id, d.models, d.workflow_version_id, v.agent, a.archived_at INTO deployed
        FROM apps a
        JOIN app_deployments d ON d.org_id = a.org_id AND d.id = a.latest_deployment_id
        JOIN workflow_versions v ON v.org_id = d.org_id AND v.id = d.workflow_version_id
        WHERE a.org_id = p_org AND a.id = place.app_id;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'app deleted';
        ELSIF deployed.archived_at IS NOT NULL THEN
            RAISE EXCEPTION 'app archived';
        END IF;
        model := deployed.model_id;
        runs_as := deployed.id;
        said := said || CASE WHEN deployed.agent IS NULL
            THEN jsonb_build_object('workflow', jsonb_build_object('version_id', deployed.workflow_version_id, 'models', deployed.models))
            ELSE jsonb_build_object('agent', deployed.agent) END;
    ELSIF place.agent IS NOT NULL THEN
        -- The agent as it is now: a later change of the conversation does not reach into the run.
        said := said || jsonb_build_object('agent', place.agent);
    END IF;
    INSERT INTO runs (org_id, project_id, id, conversation_id, message_id, message_position, model_id, user_id, status, options, input,
                      attempt, node_id, started_at, created_by, queued_at, interrupting, app_id, session_id, deployment_id)
    SELECT p_org, place.project_id, p_run, p_conversation, p_message, place.position, model, place.user_id,
           CASE WHEN p_node IS NULL THEN 'created' ELSE 'started' END, said,
           jsonb_build_object('content', p_content), CASE WHEN p_node IS NULL THEN 0 ELSE 1 END, p_node,
           CASE WHEN p_node IS NULL THEN NULL ELSE now() END, p_key, CASE WHEN p_queued THEN clock_timestamp() END, p_interrupting,
           place.app_id, place.session_id, runs_as
    WHERE p_queued OR NOT EXISTS (
        SELECT 1 FROM runs
        WHERE org_id = p_org AND conversation_id = p_conversation AND status IN ('created', 'started', 'paused') AND queued_at IS NULL)
    RETURNING * INTO made;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF p_position IS NULL THEN
        INSERT INTO messages (org_id, project_id, conversation_id, position, id, role, content, text, status, run_id, metadata)
        VALUES (p_org, place.project_id, p_conversation, place.position, p_message, 'user', p_content, p_text, 'completed', p_run, p_metadata);
    END IF;
    INSERT INTO journals (org_id, project_id, run_id, epoch, last_sequence) VALUES (p_org, place.project_id, p_run, 1, cardinality(p_sequences));
    INSERT INTO events (org_id, project_id, run_id, sequence, kind, payload)
    SELECT p_org, place.project_id, p_run, e.* FROM unnest(p_sequences, p_kinds, p_payloads) AS e;
    RETURN made;
END $$;

-- Lists of runs may be filtered by app and session; the rest of page_of_list (0027) stays as it is.
DO $$
DECLARE
    before text := pg_get_functiondef('page_of_list(jsonb)'::regprocedure);
    after  text := replace(before, '{status,conversation_id,user_id}', '{status,conversation_id,user_id,app_id,session_id}');
BEGIN
    ASSERT before <> after;
    EXECUTE after;
END $$;
