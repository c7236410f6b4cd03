-- What a run of a graph keeps of its nodes. A row is written when its node ends (or takes a step of its own), in the
-- transaction of that step's events; the run's end removes the rows.
CREATE TABLE run_nodes (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    run_id     uuid NOT NULL,
    path       text NOT NULL,   -- the node's id; of an item of a Map node/0, node/1, …
    state      jsonb NOT NULL,
    PRIMARY KEY (org_id, run_id, path),
    FOREIGN KEY (org_id, project_id) REFERENCES projects (org_id, id) ON DELETE CASCADE
);

ALTER TABLE run_nodes ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON run_nodes TO stoa_tenant
    USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()));
GRANT SELECT, DELETE ON run_nodes TO stoa_tenant;

-- What a graph gave: the object of its Output node. `output` stays the text that is the message.
ALTER TABLE runs ADD COLUMN result jsonb;
