-- What agents keep of their end users: memories, whose items are messages, and memory stores, whose files are notes.

CREATE TABLE memories (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    id         uuid NOT NULL,
    name       text NOT NULL,
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, project_id) REFERENCES projects (org_id, id) ON DELETE CASCADE
);
CREATE INDEX memories_of_project ON memories (org_id, project_id, created_at DESC, id);

-- An item belongs to an end user, and to one of that user's sessions or to none. Within that scope the times of items differ by
-- a millisecond at least, so that a client which sorts by them reads the messages in the order in which they were written.
-- What a run remembered goes when the run goes, with its conversation.
CREATE TABLE memory_items (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    id         uuid NOT NULL,
    memory_id  uuid NOT NULL,
    user_id    text NOT NULL,
    session_id text,
    type       text NOT NULL CHECK (type = 'message'),
    data       jsonb NOT NULL,
    metadata   jsonb,
    run_id     uuid,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, memory_id) REFERENCES memories (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX memory_items_in_order ON memory_items (org_id, memory_id, user_id, session_id, created_at) NULLS NOT DISTINCT;
CREATE INDEX memory_items_of_user ON memory_items (org_id, memory_id, user_id, created_at DESC, id);
CREATE INDEX memory_items_of_run ON memory_items (org_id, run_id) WHERE run_id IS NOT NULL;

CREATE TABLE memory_stores (
    org_id      uuid NOT NULL,
    project_id  uuid NOT NULL,
    id          uuid NOT NULL,
    name        text NOT NULL,
    description text,
    created_by  uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, project_id) REFERENCES projects (org_id, id) ON DELETE CASCADE
);
CREATE INDEX memory_stores_of_project ON memory_stores (org_id, project_id, created_at DESC, id);

CREATE TABLE memory_files (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    id         uuid NOT NULL,
    store_id   uuid NOT NULL,
    user_id    text NOT NULL,
    path       text COLLATE "C" NOT NULL,
    content    text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, store_id) REFERENCES memory_stores (org_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX memory_files_by_path ON memory_files (org_id, store_id, user_id, path);

-- What the planner remembers of a column outlives its rows: it is to remember nothing of what users said.
ALTER TABLE memory_items ALTER COLUMN user_id SET STATISTICS 0, ALTER COLUMN session_id SET STATISTICS 0,
    ALTER COLUMN data SET STATISTICS 0, ALTER COLUMN metadata SET STATISTICS 0;
ALTER TABLE memory_files ALTER COLUMN user_id SET STATISTICS 0, ALTER COLUMN path SET STATISTICS 0,
    ALTER COLUMN content SET STATISTICS 0;

-- Calls of built-in tools that changed something, with their results, written in the transaction of the change. A call that is
-- made again after a crash finds its line here, changes nothing, and gives the same result. It goes with its run.
CREATE TABLE tool_effects (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    run_id     uuid NOT NULL,
    call_id    uuid NOT NULL,
    result     jsonb NOT NULL,
    PRIMARY KEY (org_id, run_id, call_id),
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id) ON DELETE CASCADE
);
ALTER TABLE tool_effects ALTER COLUMN result SET STATISTICS 0;

DO $$
DECLARE
    name text;
    one  text[];
BEGIN
    FOREACH name IN ARRAY ARRAY['memories', 'memory_items', 'memory_stores', 'memory_files', 'tool_effects'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO stoa_tenant'
            ' USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO stoa_tenant', name);
    END LOOP;
    -- What the audit may show of them. Of items and files it shows nothing: they are what end users said.
    FOREACH one SLICE 1 IN ARRAY ARRAY[
        ['memories', 'id', 'name', ''],
        ['memory_stores', 'id', 'name', 'description']
    ] LOOP
        EXECUTE format('CREATE TRIGGER captured AFTER INSERT OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION capture_change(%L, %L, %L)',
            one[1], one[2], one[3], one[4]);
        EXECUTE format('CREATE TRIGGER captured_update AFTER UPDATE OF %s ON %I FOR EACH ROW EXECUTE FUNCTION capture_change(%L, %L, %L)',
            one[3] || CASE WHEN one[4] = '' THEN '' ELSE ',' || one[4] END, one[1], one[2], one[3], one[4]);
    END LOOP;
END $$;
