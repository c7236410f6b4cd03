-- Callbacks of runs: one signed POST each once the run has ended, with retries (contract section 5). A row is a leased job,
-- made in the transaction that starts its run, and gone with the run.

CREATE TABLE callbacks (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    id         uuid NOT NULL,                           -- the message: `webhook-id` is made of it, and stays over retries and replays
    run_id     uuid NOT NULL,
    app_id     uuid NOT NULL,
    position   smallint NOT NULL,
    url        text NOT NULL,
    auth       bytea,                                   -- the bearer token, encrypted
    metadata   jsonb,
    status     text NOT NULL CHECK (status IN ('waiting', 'pending', 'running', 'delivered', 'failed')),
    error      jsonb,                                   -- of the last attempt that failed
    not_before timestamptz NOT NULL DEFAULT now(),
    attempt    int NOT NULL DEFAULT 0,                  -- claims since the run ended, or since the last replay
    posts      int NOT NULL DEFAULT 0,                  -- all attempts
    node_id    uuid,
    deadline   timestamptz,                             -- of the lease
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id) ON DELETE CASCADE
);
CREATE INDEX callbacks_of_run ON callbacks (org_id, run_id);
CREATE INDEX callbacks_by_id ON callbacks (id);
CREATE INDEX callbacks_pending ON callbacks (project_id, not_before) WHERE status = 'pending';
CREATE INDEX callbacks_running ON callbacks (node_id) WHERE status = 'running';

-- Each POST. One without an end was begun by a node that died: whether it arrived is not known.
CREATE TABLE callback_attempts (
    org_id       uuid NOT NULL,
    project_id   uuid NOT NULL,
    callback_id  uuid NOT NULL,
    number       int NOT NULL,
    begun_at     timestamptz NOT NULL DEFAULT now(),
    ended_at     timestamptz,
    status_code  int,
    error        jsonb,
    PRIMARY KEY (org_id, callback_id, number),
    FOREIGN KEY (org_id, callback_id) REFERENCES callbacks (org_id, id) ON DELETE CASCADE
);

-- What an app signs its callbacks with. After a rotation the one before signs too, until its end.
CREATE TABLE app_signing_secrets (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    id         uuid NOT NULL,
    app_id     uuid NOT NULL,
    secret     bytea NOT NULL,                          -- encrypted
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,                             -- of one that was replaced
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, app_id) REFERENCES apps (org_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX app_signing_secrets_now ON app_signing_secrets (org_id, app_id) WHERE expires_at IS NULL;
CREATE INDEX app_signing_secrets_of_app ON app_signing_secrets (org_id, app_id);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['callbacks', 'callback_attempts', 'app_signing_secrets'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO stoa_tenant'
            ' USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO stoa_tenant', name);
    END LOOP;
END $$;

-- In the transaction that ends a run its callbacks become due: none is lost, whoever dies afterwards.
CREATE FUNCTION callbacks_become_due() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE callbacks SET status = 'pending', not_before = now() WHERE org_id = NEW.org_id AND run_id = NEW.id AND status = 'waiting';
    IF FOUND THEN
        PERFORM pg_notify('stoa_callbacks', '');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER callbacks_of_ended_run AFTER UPDATE OF status ON runs FOR EACH ROW
    WHEN (NEW.app_id IS NOT NULL AND NEW.status IN ('completed', 'failed', 'canceled')
          AND OLD.status NOT IN ('completed', 'failed', 'canceled'))
    EXECUTE FUNCTION callbacks_become_due();
