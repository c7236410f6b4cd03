-- Knowledge bases and their items. The index (chunks, vectors, words) is the one of 0008.

-- The nodes that are gone: their lease ran out, or their advisory lock is free because their process is.
CREATE VIEW dead_nodes AS
WITH held AS (
    SELECT objid::bigint AS key FROM pg_locks
    WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND classid = 21366 AND granted
)
SELECT n.id FROM nodes n WHERE n.expires_at < now() OR NOT EXISTS (SELECT 1 FROM held WHERE held.key = n.lock_key);

CREATE TABLE knowledgebases (
    org_id      uuid NOT NULL,
    project_id  uuid NOT NULL,
    id          uuid NOT NULL,
    name        text NOT NULL,
    description text,
    embedder    jsonb NOT NULL,
    chunking    jsonb NOT NULL,
    retriever   jsonb NOT NULL,
    language    text NOT NULL,                          -- how words are stemmed
    generation  int NOT NULL DEFAULT 1,                 -- the index that is searched
    building    jsonb,                                  -- settings of the generation that is being built beside it; NULL: none is
    created_by  uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, project_id) REFERENCES projects ON DELETE CASCADE
);
CREATE INDEX knowledgebases_newest ON knowledgebases (org_id, project_id, created_at DESC, id);
CREATE INDEX knowledgebases_building ON knowledgebases (id) WHERE building IS NOT NULL;

-- One row per item: what it is, and its own job. `version` counts uploads and reprocessings: a worker may settle the version it took.
CREATE TABLE knowledge_items (
    org_id           uuid NOT NULL,
    project_id       uuid NOT NULL,
    id               uuid NOT NULL,
    knowledgebase_id uuid NOT NULL,
    name             text NOT NULL,
    size             bigint NOT NULL,
    mime_type        text NOT NULL,
    sha256           bytea NOT NULL,
    served_sha256    bytea,                              -- the content that is in the index; NULL: none is
    served_name      text,                               -- what it was called: a replacement may have another name, and may fail
    served_mime_type text,
    metadata         jsonb NOT NULL,
    status           text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'processing', 'processed', 'failed')),
    version          bigint NOT NULL DEFAULT 1,
    attempt          int NOT NULL DEFAULT 0,
    node_id          uuid,
    not_before       timestamptz NOT NULL DEFAULT now(), -- when a worker may take it
    deadline         timestamptz,                        -- of the lease, moved on by its worker; past it, anybody may take it
    pages_done       int,
    pages            int,
    chunks_done      int,
    chunks_total     int,
    chunks           int,                                -- in the index that is searched
    built            int NOT NULL DEFAULT 0,             -- the newest generation that holds it
    built_chunks     int,                                -- in the generation that is being built
    warnings         text[],
    error            jsonb,
    source_id        uuid,
    origin           text,                               -- where a source found it
    created_by       uuid,
    uploaded_at      timestamptz NOT NULL DEFAULT now(),
    processed_at     timestamptz,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, knowledgebase_id) REFERENCES knowledgebases
);
CREATE INDEX knowledge_items_newest ON knowledge_items (org_id, knowledgebase_id, uploaded_at DESC, id);
CREATE INDEX knowledge_items_pending ON knowledge_items (knowledgebase_id, not_before) WHERE status = 'pending';
CREATE INDEX knowledge_items_processing ON knowledge_items (deadline) WHERE status = 'processing';
CREATE INDEX knowledge_items_by_generation ON knowledge_items (org_id, knowledgebase_id, built) WHERE served_sha256 IS NOT NULL;
CREATE INDEX knowledge_items_by_content ON knowledge_items (org_id, project_id, sha256);
CREATE INDEX knowledge_items_by_served ON knowledge_items (org_id, project_id, served_sha256);

-- Whose items a deletion took: the re-scan looks through the index of that base.
ALTER TABLE deletions ADD COLUMN knowledgebase_id uuid;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['knowledgebases', 'knowledge_items'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO stoa_tenant'
            ' USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO stoa_tenant', name);
    END LOOP;
END $$;
