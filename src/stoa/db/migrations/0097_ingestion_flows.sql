-- What the platform's clients say of a knowledge base's ingestion: flow, flow_ui, workflow_id, workflow_version_id, runtime_id. It is given back as it was sent.

ALTER TABLE knowledgebases ADD COLUMN ingestion jsonb;
ALTER TABLE knowledgebases ALTER COLUMN ingestion SET STATISTICS 0;
