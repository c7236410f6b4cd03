-- Triggers of apps, and the log of their firings, which is also the queue of runs to start.

CREATE TABLE triggers (
    org_id            uuid NOT NULL,
    project_id        uuid NOT NULL,
    id                uuid NOT NULL,
    app_id            uuid NOT NULL,
    name              text NOT NULL,
    provider          text NOT NULL CHECK (provider IN ('schedule', 'webhook')),
    config            jsonb NOT NULL,
    input_transformer jsonb,
    signing_secret    bytea,                  -- of a webhook, encrypted; never leaves the server
    hook_hash         bytea UNIQUE,           -- SHA-512 of the secret part of a webhook's URL
    status            text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'active', 'inactive', 'expired')),
    next_at           timestamptz,            -- the next due instant of an active schedule
    wake_at           timestamptz,            -- when a node has to look at it: next_at or its expiry, whichever is first
    missed            int NOT NULL DEFAULT 0, -- due instants since missed_from that are not made up for, and not yet in the log
    missed_from       timestamptz,
    problem           jsonb,                  -- why the server stopped it: {code, message}
    actor_id          uuid NOT NULL,          -- in whose name runs start: who made it or activated it last
    actor_is_user     boolean NOT NULL,
    created_by        uuid,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_by        uuid,
    updated_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, app_id) REFERENCES apps (org_id, id) ON DELETE CASCADE,
    CHECK (wake_at IS NULL OR status = 'active')
);
CREATE INDEX triggers_of_app ON triggers (org_id, app_id, created_at DESC, id);
CREATE INDEX triggers_due ON triggers (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX triggers_of_actor ON triggers (org_id, actor_id);

-- One row per firing. Of each due instant, and of each delivery, there is one: the unique indexes decide that. The row gets
-- its run in the transaction that begins the run, so that one cannot be without the other.
CREATE TABLE trigger_events (
    org_id      uuid NOT NULL,
    project_id  uuid NOT NULL,
    id          uuid NOT NULL,
    trigger_id  uuid NOT NULL,
    source      text NOT NULL CHECK (source IN ('schedule', 'webhook', 'manual')),
    due_at      timestamptz,
    delivery_id text,
    payload     jsonb NOT NULL,
    status      text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'starting', 'accepted', 'failed', 'skipped')),
    run_id      uuid,
    error       jsonb,
    attempt     int NOT NULL DEFAULT 0,
    node_id     uuid,
    not_before  timestamptz NOT NULL DEFAULT now(),
    deadline    timestamptz,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, trigger_id) REFERENCES triggers ON DELETE CASCADE,
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id) ON DELETE SET NULL (run_id),
    CHECK (source <> 'schedule' OR due_at IS NOT NULL)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX trigger_events_of_instant ON trigger_events (org_id, trigger_id, due_at) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX trigger_events_of_delivery ON trigger_events (org_id, trigger_id, delivery_id) WHERE delivery_id IS NOT NULL;
CREATE INDEX trigger_events_newest ON trigger_events (org_id, trigger_id, received_at DESC, id);
CREATE INDEX trigger_events_waiting ON trigger_events (project_id, not_before) WHERE status = 'pending';
CREATE INDEX trigger_events_claimed ON trigger_events (deadline) WHERE status = 'starting';
CREATE INDEX trigger_events_open ON trigger_events (org_id, trigger_id) WHERE status IN ('pending', 'starting');
CREATE INDEX trigger_events_of_run ON trigger_events (org_id, run_id) WHERE run_id IS NOT NULL;
CREATE INDEX trigger_events_old ON trigger_events (received_at);

-- What a run was given goes with the run. The row stays, so that a delivery which is sent again starts no second run.
CREATE FUNCTION forget_trigger_payload() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.payload := '{}';
    RETURN NEW;
END $$;
CREATE TRIGGER payload_goes_with_run BEFORE UPDATE OF run_id ON trigger_events
    FOR EACH ROW WHEN (OLD.run_id IS NOT NULL AND NEW.run_id IS NULL) EXECUTE FUNCTION forget_trigger_payload();

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['triggers', 'trigger_events'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO stoa_tenant'
            ' USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO stoa_tenant', name);
    END LOOP;
END $$;
