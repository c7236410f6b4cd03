-- Spans of other programs, as the collector takes them: the platform's SDK, and OpenTelemetry. Spans of Stoa's own runs
-- are not stored again: runs, journals, tool_calls and model_calls are their truth.

CREATE TABLE spans (
    org_id            uuid NOT NULL,
    project_id        uuid NOT NULL,
    trace_id          text NOT NULL,
    id                text NOT NULL,
    parent_id         text,
    wire              text NOT NULL CHECK (wire IN ('sdk', 'otlp')),
    name              text NOT NULL,
    type              text NOT NULL,                        -- workflow, flow, node
    status            text,                                 -- NULL: not finished yet
    started_at        timestamptz NOT NULL,
    ended_at          timestamptz,
    source_id         text,
    session_id        text,
    user_id           text,
    model             text,
    prompt_tokens     bigint,
    completion_tokens bigint,
    cost_usd          numeric(18, 9),
    tags              text[] NOT NULL DEFAULT '{}',
    body              jsonb NOT NULL,                       -- the span as it was sent
    received_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, project_id, trace_id, id)
);
CREATE INDEX spans_by_age ON spans (received_at);

-- One row per trace, kept in step with its spans in the transaction that stores them.
CREATE TABLE traces (
    org_id            uuid NOT NULL,
    project_id        uuid NOT NULL,
    id                text NOT NULL,
    wire              text NOT NULL,                        -- of the span that came first
    name              text NOT NULL,                        -- of the first root
    status            text,                                 -- NULL: something is not finished yet
    started_at        timestamptz NOT NULL,
    ended_at          timestamptz,
    source_id         text,
    session_id        text,
    user_id           text,
    models            text[] NOT NULL DEFAULT '{}',
    tags              text[] NOT NULL DEFAULT '{}',
    span_count        int NOT NULL,
    root_count        int NOT NULL,
    prompt_tokens     bigint NOT NULL DEFAULT 0,
    completion_tokens bigint NOT NULL DEFAULT 0,
    cost_usd          numeric(18, 9),
    received_at       timestamptz NOT NULL DEFAULT now(),   -- of the newest span
    PRIMARY KEY (org_id, project_id, id)
);
CREATE INDEX traces_newest ON traces (org_id, project_id, started_at DESC, id);
CREATE INDEX traces_of_session ON traces (org_id, project_id, session_id, started_at DESC) WHERE session_id IS NOT NULL;
CREATE INDEX traces_by_age ON traces (received_at);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['spans', 'traces'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO stoa_tenant'
            ' USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO stoa_tenant', name);
    END LOOP;
END $$;
