-- Keys as a product: who uses a key, and which key takes its place.

ALTER TABLE access_keys ADD COLUMN successor_id uuid;   -- after a rotation, the key that takes its place; this one ends at expires_at

-- From where, and with which client, a key was used lately. Nodes write what they have seen every half minute, no request does.
CREATE TABLE key_uses (
    org_id     uuid NOT NULL,
    project_id uuid,
    key_id     uuid NOT NULL,
    address    text NOT NULL,
    client     text NOT NULL,
    first_at   timestamptz NOT NULL,
    last_at    timestamptz NOT NULL,
    PRIMARY KEY (org_id, key_id, address, client),
    FOREIGN KEY (org_id, key_id) REFERENCES access_keys ON DELETE CASCADE
) WITH (fillfactor = 70);
ALTER TABLE key_uses ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON key_uses TO stoa_tenant
    USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()));
GRANT SELECT, DELETE ON key_uses TO stoa_tenant;
GRANT UPDATE ON access_keys TO stoa_tenant;
GRANT INSERT, UPDATE ON key_spending TO stoa_tenant;
