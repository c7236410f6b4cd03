-- No function that a run's transactions call sends NOTIFY any more: nodes send it after the commit, in a transaction of its own
-- (docs/decisions/0130). The functions of before stay for nodes of the release before this one.

-- Events of one run, in the transaction of what they belong to: takes the sequences, checks the writer's epoch and the seal, and stores them.
-- False, and nothing is stored, where the writer's right is over.
CREATE FUNCTION append_events_v2(
    p_org uuid, p_run uuid, p_epoch bigint, p_base int, p_seal boolean, p_sequences int[], p_kinds smallint[], p_payloads bytea[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    project uuid;
BEGIN
    UPDATE journals SET last_sequence = last_sequence + cardinality(p_sequences), sealed = p_seal
    WHERE org_id = p_org AND run_id = p_run AND epoch = p_epoch AND last_sequence = p_base AND NOT sealed RETURNING project_id INTO project;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO events (org_id, project_id, run_id, sequence, kind, payload)
    SELECT p_org, project, p_run, e.* FROM unnest(p_sequences, p_kinds, p_payloads) AS e;
    RETURN true;
END $$;

-- As end_run_v1 (migration 0025).
CREATE FUNCTION end_run_v2(
    p_org uuid, p_run uuid, p_conversation uuid, p_message uuid, p_status text, p_output text, p_content jsonb, p_error jsonb, p_usage jsonb, p_turns jsonb,
    p_uses jsonb, p_alone boolean, p_epoch bigint, p_base int, p_sequences int[], p_kinds smallint[], p_payloads bytea[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    place record;
    queue boolean;
BEGIN
    IF p_message IS NOT NULL THEN
        UPDATE conversations SET message_count = message_count + 1, updated_at = now() WHERE org_id = p_org AND id = p_conversation
        RETURNING message_count AS position, project_id INTO STRICT place;  -- A conversation outlives its active run.
        INSERT INTO messages (org_id, project_id, conversation_id, position, id, role, content, text, status, run_id, usage, turns)
        VALUES (p_org, place.project_id, p_conversation, place.position, p_message, 'assistant', p_content, p_output, p_status, p_run, p_usage, p_turns);
    END IF;
    UPDATE runs SET status = p_status, output = p_output, error = p_error, usage = p_usage, checkpoint = NULL, node_id = NULL, queued_at = NULL, ended_at = now()
    WHERE org_id = p_org AND id = p_run AND status IN ('created', 'started', 'paused');
    queue := EXISTS (SELECT 1 FROM runs WHERE org_id = p_org AND conversation_id = p_conversation AND queued_at IS NOT NULL AND id <> p_run);
    IF queue AND p_alone THEN
        RAISE EXCEPTION 'queue';
    END IF;
    IF NOT append_events_v2(p_org, p_run, p_epoch, p_base, true, p_sequences, p_kinds, p_payloads) THEN
        RAISE EXCEPTION 'fenced';
    END IF;
    IF jsonb_array_length(p_uses) > 0 THEN
        PERFORM bill_run_v1(p_org, p_run, p_uses);
    END IF;
    RETURN queue;
END $$;

-- In the transaction that ends a run its callbacks become due: none is lost, whoever dies afterwards. Whoever ended the run wakes the senders.
CREATE OR REPLACE FUNCTION callbacks_become_due() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE callbacks SET status = 'pending', not_before = now() WHERE org_id = NEW.org_id AND run_id = NEW.id AND status = 'waiting';
    RETURN NULL;
END $$;
