-- Calls of the AI gateway: lines of the bill with the kind 'gateway', and what keys with a spending limit have reserved for calls under way.

-- What a call under way may cost at most. The amount is part of key_spending too, so every check of the limit sees it; it is taken out again in the
-- statement that enters the call's line. A node that died leaves its rows behind; another node removes them.
CREATE TABLE key_reservations (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    id         uuid NOT NULL,                           -- the call's
    key_id     uuid NOT NULL,
    day        date NOT NULL,                           -- where in key_spending the amount stands
    part       smallint NOT NULL,
    usd        numeric(18, 9) NOT NULL,
    node_id    uuid NOT NULL,                           -- who makes the call
    made_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, key_id) REFERENCES access_keys (org_id, id) ON DELETE CASCADE
);
CREATE INDEX key_reservations_of_key ON key_reservations (org_id, key_id);
ALTER TABLE key_reservations ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON key_reservations TO stoa_tenant
    USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()));
GRANT SELECT ON key_reservations TO stoa_tenant;

-- The number of the last group of lines that a node has entered. A group whose commit was not acknowledged is sent again, and entered once.
CREATE TABLE ledger_batches (
    node_id    uuid PRIMARY KEY,
    number     bigint NOT NULL,
    entered_at timestamptz NOT NULL DEFAULT now()
);

-- Reserves what a call may cost at most, or changes what the call has reserved. One call of a key after the other: the key's row is locked.
-- Not granted: nothing is reserved for the call any more. `limit_usd` NULL: the key has no limit.
CREATE FUNCTION reserve_spending(
    p_org uuid, p_project uuid, p_key uuid, p_id uuid, p_usd numeric, p_node uuid,
    OUT granted boolean, OUT spent_usd float8, OUT limit_usd float8, OUT period text
) LANGUAGE plpgsql AS $$
DECLARE
    today   date := (now() AT TIME ZONE 'UTC')::date;
    v_part  smallint := abs(hashtext(p_id::text)::bigint) % 8;
    held    key_reservations;
    spent   numeric;
    ceiling numeric;
BEGIN
    SELECT k.spending_limit_usd, k.spending_period INTO ceiling, period FROM access_keys k WHERE k.org_id = p_org AND k.id = p_key FOR NO KEY UPDATE;
    IF ceiling IS NULL THEN
        granted := true;
        RETURN;
    END IF;
    DELETE FROM key_reservations r WHERE r.org_id = p_org AND r.id = p_id RETURNING * INTO held;
    IF FOUND THEN
        UPDATE key_spending s SET usd = s.usd - held.usd
        WHERE s.org_id = p_org AND s.key_id = p_key AND s.day = held.day AND s.part = held.part;
    END IF;
    SELECT coalesce(sum(s.usd), 0) INTO spent FROM key_spending s
    WHERE s.org_id = p_org AND s.key_id = p_key AND (period = 'total' OR s.day >= date_trunc(period, now() AT TIME ZONE 'UTC')::date);
    granted := spent < ceiling AND spent + p_usd <= ceiling;
    spent_usd := spent;
    limit_usd := ceiling;
    IF granted THEN
        INSERT INTO key_reservations (org_id, project_id, id, key_id, day, part, usd, node_id)
        VALUES (p_org, p_project, p_id, p_key, today, v_part, p_usd, p_node);
        INSERT INTO key_spending AS s (org_id, project_id, key_id, day, part, usd) VALUES (p_org, p_project, p_key, today, v_part, p_usd)
        ON CONFLICT (org_id, key_id, day, part) DO UPDATE SET usd = s.usd + excluded.usd;
    END IF;
END $$;
