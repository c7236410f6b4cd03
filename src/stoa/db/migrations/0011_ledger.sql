-- Forks share history by reference; deletions say what forks keep; the bill outlives what it was for without naming it; and what
-- people write does not get into the planner's statistics, where it would outlive them too.

-- forks -------------------------------------------------------------------------------------------------------------

ALTER TABLE conversations
    ADD COLUMN family                 uuid NOT NULL DEFAULT gen_random_uuid(),  -- forks have their origin's: forking and deleting within it take turns
    ADD COLUMN forked_from            uuid,
    ADD COLUMN forked_from_message_id uuid;
CREATE INDEX conversations_by_origin ON conversations (org_id, forked_from) WHERE forked_from IS NOT NULL;

-- Which messages of other conversations a fork begins with. The list is flat: a fork of a fork names the owners themselves.
CREATE TABLE conversation_segments (
    org_id          uuid NOT NULL,
    project_id      uuid NOT NULL,
    conversation_id uuid NOT NULL,
    first_position  int NOT NULL,
    last_position   int NOT NULL,
    source_id       uuid NOT NULL,                          -- the conversation whose rows these are
    PRIMARY KEY (org_id, conversation_id, first_position),
    FOREIGN KEY (org_id, conversation_id) REFERENCES conversations,
    FOREIGN KEY (org_id, source_id) REFERENCES conversations,
    CHECK (first_position <= last_position)
);
CREATE INDEX conversation_segments_by_source ON conversation_segments (org_id, source_id);

-- Files of other conversations that the shared messages of a fork name.
CREATE TABLE conversation_files (
    org_id          uuid NOT NULL,
    project_id      uuid NOT NULL,
    conversation_id uuid NOT NULL,
    file_id         uuid NOT NULL,
    PRIMARY KEY (org_id, conversation_id, file_id),
    FOREIGN KEY (org_id, conversation_id) REFERENCES conversations,
    FOREIGN KEY (org_id, file_id) REFERENCES files
);
CREATE INDEX conversation_files_by_file ON conversation_files (org_id, file_id);

-- The messages that a conversation shows: its own and those it shares. Rows are seen with the rights of who asks.
CREATE VIEW shown_messages WITH (security_invoker = true) AS
SELECT m.org_id, m.conversation_id AS shown_in, m.position, m.id, m.role, m.content, m.status, m.run_id, m.usage, m.metadata, m.turns, m.created_at
FROM messages m
UNION ALL
SELECT m.org_id, s.conversation_id, m.position, m.id, m.role, m.content, m.status, m.run_id, m.usage, m.metadata, m.turns, m.created_at
FROM conversation_segments s
JOIN messages m ON m.org_id = s.org_id AND m.conversation_id = s.source_id AND m.position BETWEEN s.first_position AND s.last_position;
GRANT SELECT ON shown_messages TO stoa_tenant;

-- Few messages name files, and a fork asks for those alone.
CREATE INDEX messages_with_files ON messages (org_id, conversation_id, position) WHERE content @> '[{"type": "file"}]';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['conversation_segments', 'conversation_files'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO stoa_tenant'
            ' USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO stoa_tenant', name);
    END LOOP;
END $$;

-- deletions ---------------------------------------------------------------------------------------------------------

ALTER TABLE deletions
    ADD COLUMN message_ids         uuid[] NOT NULL DEFAULT '{}',                -- what the re-scan looks for; emptied by it
    ADD COLUMN retained_message_ids uuid[] NOT NULL DEFAULT '{}',               -- what forks go on showing
    ADD COLUMN retained_file_ids   uuid[] NOT NULL DEFAULT '{}',
    ADD COLUMN scrubbed_at         timestamptz;                                 -- since when no byte of it is in the database's files
CREATE INDEX deletions_unscrubbed ON deletions (created_at) WHERE scrubbed_at IS NULL;

-- the bill ----------------------------------------------------------------------------------------------------------

-- A deletion leaves the amounts and takes away what they were for and for whom.
ALTER TABLE model_calls ALTER COLUMN run_id DROP NOT NULL, ALTER COLUMN conversation_id DROP NOT NULL;
CREATE INDEX model_calls_of_conversation ON model_calls (org_id, conversation_id) WHERE conversation_id IS NOT NULL;

-- statistics --------------------------------------------------------------------------------------------------------

-- ANALYZE copies the most common values and a histogram of a column into pg_statistic. Of what people and models write it must not.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'conversations.title', 'conversations.user_id', 'conversations.metadata', 'conversations.agent', 'conversations.search',
        'messages.content', 'messages.text', 'messages.usage', 'messages.metadata', 'messages.turns', 'messages.search',
        'files.name', 'files.warnings', 'files.error', 'files.mime_type', 'files.sha256',
        'file_passages.heading', 'file_passages.text',
        'runs.user_id', 'runs.options', 'runs.input', 'runs.output', 'runs.error', 'runs.checkpoint', 'runs.cancel_reason',
        'events.payload',
        'tool_calls.name', 'tool_calls.input', 'tool_calls.result', 'tool_calls.error',
        'input_requests.prompt', 'input_requests.params', 'input_requests.editable_params', 'input_requests.options', 'input_requests.answer',
        'idempotency_keys.key', 'idempotency_keys.answer', 'idempotency_keys.body_sha256',
        'model_calls.user_id'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET STATISTICS 0', split_part(name, '.', 1), split_part(name, '.', 2));
    END LOOP;
END $$;
-- What an ANALYZE of an earlier version has taken. Where this role may not (it is no superuser), `stoa scrub` says so.
DO $$
BEGIN
    DELETE FROM pg_statistic s USING pg_attribute a, pg_class c
    WHERE a.attrelid = s.starelid AND a.attnum = s.staattnum AND a.attstattarget = 0
      AND c.oid = a.attrelid AND c.relnamespace = 'public'::regnamespace;
EXCEPTION WHEN insufficient_privilege THEN
    NULL;
END $$;
