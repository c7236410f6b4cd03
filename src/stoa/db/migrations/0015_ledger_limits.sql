-- Limits of access keys: how much may be spent in a period, and how many requests a minute may bring.

ALTER TABLE access_keys
    ADD COLUMN rate_limit         int CHECK (rate_limit > 0),                    -- requests per minute
    ADD COLUMN spending_limit_usd numeric(18, 9) CHECK (spending_limit_usd >= 0),
    ADD COLUMN spending_period    text CHECK (spending_period IN ('day', 'month', 'total'));

-- What keys with a spending limit have spent, by day (UTC). Eight rows a day, so that runs of one key that end at the same moment seldom wait for
-- one another. No foreign key: a run that ends after its key was revoked must be able to say what it cost.
CREATE TABLE key_spending (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    key_id     uuid NOT NULL,
    day        date NOT NULL,
    part       smallint NOT NULL,
    usd        numeric(18, 9) NOT NULL,
    PRIMARY KEY (org_id, key_id, day, part)
) WITH (fillfactor = 50);

-- Where each limited key stands: the moment at which all it was let through will have been paid back at its rate. Not logged: that a minute's
-- count is forgotten in a crash harms nobody, and a request costs no flush.
CREATE UNLOGGED TABLE key_rates (
    org_id uuid NOT NULL,
    key_id uuid NOT NULL,
    busy_until timestamptz NOT NULL,
    PRIMARY KEY (org_id, key_id)
) WITH (fillfactor = 50);

ALTER TABLE key_spending ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON key_spending TO stoa_tenant USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()));
GRANT SELECT, DELETE ON key_spending TO stoa_tenant;
ALTER TABLE key_rates ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON key_rates TO stoa_tenant USING (org_id = stoa_org());
GRANT SELECT, DELETE ON key_rates TO stoa_tenant;
