-- The first schema. Every table that belongs to a tenant carries org_id and project_id, leads its key with org_id,
-- and is under row-level security, default deny: the role stoa_tenant sees the rows of the organization (and of the
-- project, unless the credential is organization-wide) that its transaction was opened for.

CREATE FUNCTION stoa_org() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('stoa.org_id', true), '')::uuid;

CREATE FUNCTION stoa_project() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('stoa.project_id', true), '')::uuid;

-- access ------------------------------------------------------------------------------------------------------------

CREATE TABLE orgs (
    id         uuid PRIMARY KEY,
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE projects (
    org_id      uuid NOT NULL REFERENCES orgs ON DELETE CASCADE,
    id          uuid NOT NULL,
    name        text NOT NULL,
    description text,
    visibility  text NOT NULL DEFAULT 'internal' CHECK (visibility IN ('internal', 'private')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id)
);

CREATE TABLE access_keys (
    org_id      uuid NOT NULL REFERENCES orgs ON DELETE CASCADE,
    project_id  uuid,                                   -- NULL: organization-wide
    id          uuid NOT NULL,
    name        text NOT NULL,
    hash        bytea NOT NULL UNIQUE,                  -- SHA-512 of the whole key
    preview     text NOT NULL,
    permissions text[],                                 -- NULL: everything its scope allows
    expires_at  timestamptz,
    created_by  uuid,                                   -- the key that made it; NULL for the first
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, project_id) REFERENCES projects ON DELETE CASCADE
);

-- What was done, by which key. Rows outlive what they speak of.
CREATE TABLE audit (
    org_id     uuid NOT NULL,
    project_id uuid,
    id         bigint GENERATED ALWAYS AS IDENTITY,
    at         timestamptz NOT NULL DEFAULT now(),
    key_id     uuid,
    action     text NOT NULL,                           -- conversation.delete, access_key.create, …
    subject_id uuid,
    PRIMARY KEY (org_id, id)
);

-- The first answer to a POST that carried an Idempotency-Key.
CREATE TABLE idempotency_keys (
    org_id      uuid NOT NULL,
    project_id  uuid,
    scope       text NOT NULL,                          -- the credential's scope, as text, so that it can be part of the key
    key         text NOT NULL,
    route       text NOT NULL,
    body_sha256 bytea NOT NULL,
    status      int,
    answer      jsonb,                                  -- NULL while the first request is still at work
    subject_id  uuid,                                   -- what it made: the conversation whose deletion takes the row along
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, scope, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_by_subject ON idempotency_keys (org_id, subject_id);

-- gateway -----------------------------------------------------------------------------------------------------------

CREATE TABLE connections (
    org_id      uuid NOT NULL,
    project_id  uuid NOT NULL,
    id          uuid NOT NULL,
    name        text NOT NULL,
    type        text NOT NULL CHECK (type IN ('openai', 'anthropic', 'ollama')),
    base_url    text,
    secret      bytea,                                  -- encrypted; never leaves the server
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, project_id) REFERENCES projects ON DELETE CASCADE
);
CREATE UNIQUE INDEX connections_by_name ON connections (org_id, project_id, name);

-- The catalogue. Rows without an organization come from the node's environment or stoa.toml and are everybody's.
CREATE TABLE models (
    id            uuid PRIMARY KEY,
    org_id        uuid,
    project_id    uuid,
    connection_id uuid,
    slug          text NOT NULL,
    name          text NOT NULL,
    provider      text NOT NULL,
    wire_name     text NOT NULL,                        -- what the provider calls it
    abilities     jsonb NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (org_id, connection_id) REFERENCES connections ON DELETE SET NULL (connection_id)
);
CREATE UNIQUE INDEX models_by_slug ON models (coalesce(project_id, '00000000-0000-0000-0000-000000000000'), slug);

-- conversations -----------------------------------------------------------------------------------------------------

CREATE TABLE conversations (
    org_id        uuid NOT NULL,
    project_id    uuid NOT NULL,
    id            uuid NOT NULL,
    title         text,
    model_id      uuid REFERENCES models,
    app_id        uuid,
    user_id       text,
    metadata      jsonb,
    message_count int NOT NULL DEFAULT 0,               -- also the position of the newest message
    created_by    uuid,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    search        tsvector GENERATED ALWAYS AS (to_tsvector('simple', coalesce(title, ''))) STORED,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, project_id) REFERENCES projects ON DELETE CASCADE,
    CHECK (num_nonnulls(model_id, app_id) = 1)
);
CREATE INDEX conversations_newest ON conversations (org_id, project_id, created_at DESC, id);
CREATE INDEX conversations_search ON conversations USING gin (search);

CREATE TABLE messages (
    org_id          uuid NOT NULL,
    project_id      uuid NOT NULL,
    conversation_id uuid NOT NULL,
    position        int NOT NULL,                       -- 1, 2, 3 … without gaps
    id              uuid NOT NULL,
    role            text NOT NULL CHECK (role IN ('user', 'assistant')),
    content         jsonb NOT NULL,
    text            text NOT NULL,                      -- the text parts, for search
    status          text NOT NULL CHECK (status IN ('completed', 'failed', 'canceled')),
    run_id          uuid,
    usage           jsonb,
    metadata        jsonb,
    created_at      timestamptz NOT NULL DEFAULT now(),
    -- Bounded, because a tsvector over 1 MB is an error and a message may be larger.
    search          tsvector GENERATED ALWAYS AS (to_tsvector('simple', left(text, 100000))) STORED,
    PRIMARY KEY (org_id, conversation_id, position),
    FOREIGN KEY (org_id, conversation_id) REFERENCES conversations
);
CREATE UNIQUE INDEX messages_by_id ON messages (org_id, id);
CREATE INDEX messages_search ON messages USING gin (search);

CREATE TABLE files (
    org_id          uuid NOT NULL,
    project_id      uuid NOT NULL,
    id              uuid NOT NULL,
    conversation_id uuid NOT NULL,
    name            text NOT NULL,
    size            bigint NOT NULL,
    mime_type       text NOT NULL,
    sha256          bytea NOT NULL,
    status          text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'ready', 'failed')),
    pages           int,
    warnings        text[],
    error           jsonb,
    created_by      uuid,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, conversation_id) REFERENCES conversations
);
CREATE INDEX files_of_conversation ON files (org_id, conversation_id, created_at);
CREATE INDEX files_unread ON files (created_at) WHERE status = 'pending';
CREATE INDEX files_by_content ON files (org_id, project_id, sha256);

-- What was read out of a file.
CREATE TABLE file_passages (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    file_id    uuid NOT NULL,
    position   int NOT NULL,
    page       int,
    heading    text,
    text       text NOT NULL,
    PRIMARY KEY (org_id, file_id, position),
    FOREIGN KEY (org_id, file_id) REFERENCES files
);

-- What was deleted, and the proof. `blobs` lists content that goes once nobody refers to it.
CREATE TABLE deletions (
    org_id      uuid NOT NULL,
    project_id  uuid NOT NULL,
    id          uuid NOT NULL,
    kind        text NOT NULL,
    subject_id  uuid NOT NULL,
    stores      jsonb NOT NULL,
    blobs       text[] NOT NULL DEFAULT '{}',
    run_ids     uuid[] NOT NULL DEFAULT '{}',           -- only ids: what a re-scan has to look for
    file_ids    uuid[] NOT NULL DEFAULT '{}',
    created_by  uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    verified_at timestamptz,
    PRIMARY KEY (org_id, id)
);
CREATE INDEX deletions_unverified ON deletions (created_at) WHERE verified_at IS NULL;

-- runs --------------------------------------------------------------------------------------------------------------

-- The processes that carry runs. A node is dead when its lease has run out or its advisory lock is free.
CREATE TABLE nodes (
    id         uuid PRIMARY KEY,
    lock_key   bigint NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);

CREATE TABLE runs (
    org_id           uuid NOT NULL,
    project_id       uuid NOT NULL,
    id               uuid NOT NULL,
    conversation_id  uuid NOT NULL,
    message_id       uuid NOT NULL,                     -- the user's message it answers
    message_position int NOT NULL,
    model_id         uuid REFERENCES models,
    app_id           uuid,
    user_id          text,
    status           text NOT NULL CHECK (status IN ('created', 'started', 'paused', 'completed', 'failed', 'canceled')),
    options          jsonb NOT NULL,
    input            jsonb NOT NULL,
    output           text,
    error            jsonb,
    usage            jsonb,
    checkpoint       jsonb,
    attempt          int NOT NULL DEFAULT 0,
    node_id          uuid,                              -- who carries it; NULL: whoever comes first
    cancel_reason    text,                              -- an intent; the owner records run.canceled
    created_by       uuid,
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    ended_at         timestamptz,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, conversation_id) REFERENCES conversations
);
-- Two active runs of one conversation cannot be.
CREATE UNIQUE INDEX runs_one_active ON runs (org_id, conversation_id) WHERE status IN ('created', 'started', 'paused');
CREATE INDEX runs_claimable ON runs (created_at) WHERE status IN ('created', 'started');
CREATE INDEX runs_newest ON runs (org_id, project_id, created_at DESC, id);
CREATE INDEX runs_of_conversation ON runs (org_id, conversation_id);

-- journal -----------------------------------------------------------------------------------------------------------

-- One row per run, rewritten at every tick: kept narrow and half empty, so that each rewrite stays on its page.
CREATE TABLE journals (
    org_id        uuid NOT NULL,
    project_id    uuid NOT NULL,
    run_id        uuid NOT NULL,
    epoch         bigint NOT NULL,
    last_sequence int NOT NULL DEFAULT 0,
    sealed        boolean NOT NULL DEFAULT false,
    PRIMARY KEY (org_id, run_id)
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.5);

CREATE TABLE events (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    run_id     uuid NOT NULL,
    sequence   int NOT NULL,
    kind       smallint NOT NULL,                       -- the event's type, as stoa.events numbers them
    payload    bytea NOT NULL,                          -- exactly the bytes that go out on the data: line
    PRIMARY KEY (org_id, run_id, sequence)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.2);

-- isolation ---------------------------------------------------------------------------------------------------------

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['conversations', 'messages', 'files', 'file_passages', 'deletions', 'runs', 'journals', 'events', 'connections'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO stoa_tenant'
            ' USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO stoa_tenant', name);
    END LOOP;
    -- Rows that may belong to the organization as a whole.
    FOREACH name IN ARRAY ARRAY['access_keys', 'audit', 'idempotency_keys'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO stoa_tenant'
            ' USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()))', name);
    END LOOP;
END $$;
GRANT SELECT, INSERT, DELETE ON access_keys, idempotency_keys TO stoa_tenant;
GRANT UPDATE ON idempotency_keys TO stoa_tenant;
GRANT INSERT ON audit TO stoa_tenant;

ALTER TABLE orgs ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON orgs TO stoa_tenant USING (id = stoa_org());
GRANT SELECT, UPDATE ON orgs TO stoa_tenant;

ALTER TABLE projects ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON projects TO stoa_tenant
    USING (org_id = stoa_org() AND (stoa_project() IS NULL OR id = stoa_project()));
GRANT SELECT, INSERT, UPDATE, DELETE ON projects TO stoa_tenant;

ALTER TABLE models ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON models TO stoa_tenant
    USING (org_id IS NULL OR (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project())))
    WITH CHECK (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()));
GRANT SELECT, INSERT, UPDATE, DELETE ON models TO stoa_tenant;

-- Foreign keys are checked as the table's owner; nodes are nobody's and the tenant role has no right to them.
