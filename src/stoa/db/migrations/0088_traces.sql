-- Traces whose rows are kept in step with their spans without reading all spans again, and what a project says about its
-- traces: how long they are kept, and where the runs of this server are exported to.

ALTER TABLE traces
    ADD COLUMN open_count          int NOT NULL DEFAULT 0,       -- spans that are not finished
    ADD COLUMN failed_root_count   int NOT NULL DEFAULT 0,
    ADD COLUMN canceled_root_count int NOT NULL DEFAULT 0,
    ADD COLUMN head_id             text,                         -- the span that gives the name and the tags: the first root, or the first span
    ADD COLUMN head_started_at     timestamptz,
    ADD COLUMN head_status         text,
    ADD COLUMN last_ended_at       timestamptz;                  -- of the spans that are finished

UPDATE traces t SET
    open_count = n.open_count, failed_root_count = n.failed_root_count, canceled_root_count = n.canceled_root_count,
    head_id = n.head[1], head_started_at = n.head[2]::timestamptz, head_status = n.head[3], last_ended_at = n.last_ended_at
FROM (
    SELECT org_id, project_id, trace_id,
        count(*) FILTER (WHERE ended_at IS NULL) AS open_count,
        count(*) FILTER (WHERE status = 'failed' AND parent_id IS NULL) AS failed_root_count,
        count(*) FILTER (WHERE status = 'canceled' AND parent_id IS NULL) AS canceled_root_count,
        max(ended_at) AS last_ended_at,
        (SELECT ARRAY[r.id, r.started_at::text, r.status] FROM spans r
         WHERE r.org_id = s.org_id AND r.project_id = s.project_id AND r.trace_id = s.trace_id
         ORDER BY (r.parent_id IS NULL) DESC, r.started_at, r.id COLLATE "C" LIMIT 1) AS head
    FROM spans s GROUP BY org_id, project_id, trace_id
) n
WHERE t.org_id = n.org_id AND t.project_id = n.project_id AND t.id = n.trace_id;

-- Retention goes by project, and by the trace's row; spans follow their trace. The index of spans by age was written for
-- every span and read by the doctor alone, which needs no exact one.
DROP INDEX spans_by_age;
CREATE INDEX spans_by_age ON spans USING brin (received_at);
DROP INDEX traces_by_age;
CREATE INDEX traces_by_age ON traces (org_id, project_id, received_at);

CREATE TABLE trace_settings (
    org_id             uuid NOT NULL,
    project_id         uuid NOT NULL,
    retention_days     double precision CHECK (retention_days > 0),   -- NULL: as the server says
    kept_forever       boolean NOT NULL DEFAULT false,
    export_url         text,                                      -- NULL: as the server says, or nowhere
    export_headers     bytea,                                     -- sealed under the project's id
    export_content     boolean NOT NULL DEFAULT false,            -- inputs and outputs too
    export_paused      boolean NOT NULL DEFAULT false,
    -- How far it got: runs that ended up to here are delivered.
    exported_until     timestamptz NOT NULL DEFAULT now(),
    exported_run       uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    exported_spans     bigint NOT NULL DEFAULT 0,
    refused_spans      bigint NOT NULL DEFAULT 0,
    export_attempt     int NOT NULL DEFAULT 0,                    -- failures in a row
    export_error       jsonb,
    export_claim       uuid,                                      -- of the node that delivers now
    export_not_before  timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, project_id),
    FOREIGN KEY (org_id, project_id) REFERENCES projects ON DELETE CASCADE
) WITH (fillfactor = 70);
CREATE INDEX trace_settings_due ON trace_settings (export_not_before) WHERE NOT export_paused;
ALTER TABLE trace_settings ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON trace_settings TO stoa_tenant
    USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project() OR project_id = ANY (stoa_projects())));
GRANT SELECT, INSERT, UPDATE, DELETE ON trace_settings TO stoa_tenant;
