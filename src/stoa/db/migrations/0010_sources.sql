-- Sources of knowledge bases: where items come from by themselves, how often, and how each sync went.

CREATE TABLE knowledge_sources (
    org_id           uuid NOT NULL,
    project_id       uuid NOT NULL,
    id               uuid NOT NULL,
    knowledgebase_id uuid NOT NULL,
    name             text NOT NULL,
    provider         text NOT NULL CHECK (provider IN ('website', 'directory', 's3', 'git')),
    config           jsonb NOT NULL,
    metadata         jsonb NOT NULL,                     -- given to every item of the source
    secrets          bytea,                              -- encrypted; never leaves the server
    secret_names     text[] NOT NULL DEFAULT '{}',
    schedule         text,                               -- five fields of cron, or an interval; NULL: only when asked
    timezone         text NOT NULL,
    next_sync_at     timestamptz,
    revision         int NOT NULL DEFAULT 1,             -- counts changes of what is fetched: entries of an older one are fetched anew
    deleting         text CHECK (deleting IN ('keep', 'delete')), -- an intent: the source is gone for everybody but the one who finishes it
    created_by       uuid,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, knowledgebase_id) REFERENCES knowledgebases ON DELETE CASCADE
);
CREATE INDEX knowledge_sources_newest ON knowledge_sources (org_id, knowledgebase_id, created_at DESC, id);
CREATE INDEX knowledge_sources_due ON knowledge_sources (next_sync_at) WHERE next_sync_at IS NOT NULL AND deleting IS NULL;
CREATE INDEX knowledge_sources_deleting ON knowledge_sources (id) WHERE deleting IS NOT NULL;

-- One row per sync, which is also its job: `attempt` and `node_id` fence who may go on with it.
CREATE TABLE knowledge_source_syncs (
    org_id            uuid NOT NULL,
    project_id        uuid NOT NULL,
    id                uuid NOT NULL,
    source_id         uuid NOT NULL,
    trigger           text NOT NULL CHECK (trigger IN ('manual', 'schedule')),
    status            text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'completed', 'failed', 'canceled')),
    confirm_deletions boolean NOT NULL DEFAULT false,
    cancel_requested  boolean NOT NULL DEFAULT false,
    attempt           int NOT NULL DEFAULT 0,
    node_id           uuid,
    not_before        timestamptz NOT NULL DEFAULT now(),
    deadline          timestamptz,                       -- moved on by its node every few seconds
    found             int NOT NULL DEFAULT 0,
    added             int NOT NULL DEFAULT 0,
    updated           int NOT NULL DEFAULT 0,
    unchanged         int NOT NULL DEFAULT 0,
    skipped           int NOT NULL DEFAULT 0,
    deleted           int NOT NULL DEFAULT 0,
    failed            int NOT NULL DEFAULT 0,
    warnings          text[] NOT NULL DEFAULT '{}',
    error             jsonb,
    created_by        uuid,
    created_at        timestamptz NOT NULL DEFAULT now(),
    started_at        timestamptz,
    ended_at          timestamptz,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, source_id) REFERENCES knowledge_sources ON DELETE CASCADE
) WITH (fillfactor = 70);
-- Two syncs of one source at once cannot be, on however many nodes.
CREATE UNIQUE INDEX knowledge_source_syncs_one_active ON knowledge_source_syncs (org_id, source_id) WHERE status IN ('pending', 'running');
CREATE INDEX knowledge_source_syncs_claimable ON knowledge_source_syncs (not_before) WHERE status IN ('pending', 'running');
CREATE INDEX knowledge_source_syncs_newest ON knowledge_source_syncs (org_id, source_id, created_at DESC, id);

-- What a source's origin held when it was last looked at: one row per address, with what tells cheaply whether it changed.
CREATE TABLE knowledge_source_entries (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    source_id  uuid NOT NULL,
    origin     text NOT NULL,
    state      jsonb NOT NULL,                           -- the provider's: ETag, links, size and times, blob
    sha256     bytea,                                    -- of the content that became an item; NULL: it holds no document
    revision   int NOT NULL,
    seen_by    uuid NOT NULL,                            -- the last sync that settled it
    error      jsonb,                                    -- why that sync could not read it
    PRIMARY KEY (org_id, source_id, origin),
    FOREIGN KEY (org_id, source_id) REFERENCES knowledge_sources ON DELETE CASCADE
);

-- An item goes with its source only when that is asked for, and is the only one of its origin.
ALTER TABLE knowledge_items ADD FOREIGN KEY (org_id, source_id) REFERENCES knowledge_sources ON DELETE SET NULL (source_id);
CREATE UNIQUE INDEX knowledge_items_by_origin ON knowledge_items (org_id, source_id, origin) WHERE source_id IS NOT NULL;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['knowledge_sources', 'knowledge_source_syncs', 'knowledge_source_entries'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO stoa_tenant'
            ' USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO stoa_tenant', name);
    END LOOP;
END $$;
