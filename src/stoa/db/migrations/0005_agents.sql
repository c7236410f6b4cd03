-- Agents: what a conversation's model may do, the state of runs between their steps, the ledger of tool calls, questions
-- to people, and what everything cost.

ALTER TABLE conversations ADD COLUMN agent jsonb;           -- the agent definition; NULL: a bare model

ALTER TABLE messages ADD COLUMN turns jsonb;                -- an answer's replies and tool results, for later models to read

ALTER TABLE runs ADD COLUMN checkpoint_sequence int NOT NULL DEFAULT 0;  -- the last event that `checkpoint` covers

-- Every tool call, entered before it is made and again when its result is in: after a crash it says what may have happened.
CREATE TABLE tool_calls (
    org_id          uuid NOT NULL,
    project_id      uuid NOT NULL,
    run_id          uuid NOT NULL,
    id              uuid NOT NULL,                          -- as in the events
    conversation_id uuid NOT NULL,
    name            text NOT NULL,
    kind            text NOT NULL,
    input           jsonb NOT NULL,
    idempotent      boolean NOT NULL,
    status          text NOT NULL CHECK (status IN ('begun', 'completed', 'failed', 'unknown')),
    times           int NOT NULL DEFAULT 1,                 -- how often it was begun
    result          text,
    error           jsonb,
    begun_at        timestamptz NOT NULL DEFAULT now(),
    settled_at      timestamptz,
    PRIMARY KEY (org_id, run_id, id)
);
CREATE INDEX tool_calls_of_conversation ON tool_calls (org_id, conversation_id);

-- What people are asked. An answer is taken once.
CREATE TABLE input_requests (
    org_id          uuid NOT NULL,
    project_id      uuid NOT NULL,
    run_id          uuid NOT NULL,
    id              uuid NOT NULL,
    conversation_id uuid NOT NULL,
    type            text NOT NULL CHECK (type IN ('human_feedback', 'approval_request')),
    prompt          text NOT NULL,
    params          jsonb NOT NULL,
    editable_params text[] NOT NULL,
    options         jsonb,
    status          text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'answered', 'expired', 'canceled')),
    answer          jsonb,
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    answered_at     timestamptz,
    answered_by     uuid,
    PRIMARY KEY (org_id, run_id, id)
);
CREATE INDEX input_requests_pending ON input_requests (expires_at) WHERE status = 'pending';
CREATE INDEX input_requests_of_conversation ON input_requests (org_id, conversation_id);

-- One row per call of a model: the bill. Rows outlive the conversation they were made for; they hold no content.
CREATE TABLE model_calls (
    org_id            uuid NOT NULL,
    project_id        uuid NOT NULL,
    id                bigint GENERATED ALWAYS AS IDENTITY,
    run_id            uuid NOT NULL,
    conversation_id   uuid NOT NULL,
    key_id            uuid,
    user_id           text,
    model             text NOT NULL,                        -- its slug, which outlives the catalogue's row
    prompt_tokens     int NOT NULL,
    completion_tokens int NOT NULL,
    cached_tokens     int NOT NULL,
    reasoning_tokens  int NOT NULL,
    estimated         boolean NOT NULL,
    cost_usd          numeric(18, 9),                       -- NULL: no price is known
    at                timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id)
);
CREATE INDEX model_calls_of_run ON model_calls (org_id, run_id);
CREATE INDEX model_calls_newest ON model_calls (org_id, project_id, at);
CREATE INDEX model_calls_of_key ON model_calls (org_id, key_id, at);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['tool_calls', 'input_requests', 'model_calls'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO stoa_tenant'
            ' USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO stoa_tenant', name);
    END LOOP;
END $$;
