-- Answers of the gateway that their callers asked to be kept (`Stoa-Cache`), by what was asked. They go with the key that
-- asked, and with the project.

CREATE TABLE cached_answers (
    org_id       uuid NOT NULL,
    project_id   uuid NOT NULL,
    digest       bytea NOT NULL,                        -- SHA-256 of the request and of the models that can answer it
    key_id       uuid NOT NULL,                         -- whose call it was
    model        text NOT NULL,                         -- who answered
    content_type text NOT NULL,
    content      bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, project_id, digest),
    FOREIGN KEY (org_id, project_id) REFERENCES projects ON DELETE CASCADE,
    FOREIGN KEY (org_id, key_id) REFERENCES access_keys ON DELETE CASCADE
);
CREATE INDEX cached_answers_of_key ON cached_answers (org_id, key_id);
CREATE INDEX cached_answers_by_time ON cached_answers (created_at);
ALTER TABLE cached_answers ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON cached_answers TO stoa_tenant
    USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()));
GRANT SELECT, INSERT, UPDATE, DELETE ON cached_answers TO stoa_tenant;
