-- What a vision model read on the pages that hold no text of their own: kept, so that nobody pays twice for a page, and gone with its item.
CREATE TABLE knowledge_transcripts (
    org_id            uuid NOT NULL,
    project_id        uuid NOT NULL,
    knowledgebase_id  uuid NOT NULL,
    item_id           uuid NOT NULL,
    sha256            bytea NOT NULL,                    -- of the file; with the page it says which picture was read
    page              int NOT NULL,
    model             text NOT NULL,
    text              text NOT NULL,                     -- empty: there is nothing to read on it
    complete          boolean NOT NULL,                  -- false: the model broke off at its limit
    prompt_tokens     int NOT NULL,
    completion_tokens int NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, item_id, sha256, page, model),
    FOREIGN KEY (org_id, item_id) REFERENCES knowledge_items ON DELETE CASCADE
);
CREATE INDEX knowledge_transcripts_by_content ON knowledge_transcripts (org_id, project_id, sha256);

ALTER TABLE knowledge_transcripts ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON knowledge_transcripts TO stoa_tenant
    USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()));
GRANT SELECT, INSERT, UPDATE, DELETE ON knowledge_transcripts TO stoa_tenant;
