-- The functions of 0021 under versioned names. A release that needs other parameters or another meaning creates `…_v2` beside them, so that nodes of
-- the release before it go on while the cluster is upgraded. The names without a version stay for nodes that run the release of 0021.
--
-- begin_run_v1 runs as the tenant, under row-level security; the others as the role that owns the tables. None is called as both, because PostgreSQL
-- plans the statements of a function again whenever the role changes. Locks are taken in this order: conversation, run, journal.

-- Creates a run with its journal and first events. Where p_position is NULL the message is new and gets the next position of the conversation;
-- otherwise the caller has locked the conversation, and the message has that position already (or 0: it waits in the queue).
-- Returns NULL where there is no such conversation, or where it is busy and the run is not to wait. Then the caller rolls back.
CREATE FUNCTION begin_run_v1(
    p_org uuid, p_conversation uuid, p_run uuid, p_message uuid, p_position int, p_model uuid, p_content jsonb, p_text text, p_metadata jsonb,
    p_options jsonb, p_node uuid, p_key uuid, p_queued boolean, p_interrupting boolean, p_sequences int[], p_kinds smallint[], p_payloads bytea[]
) RETURNS runs LANGUAGE plpgsql AS $$
DECLARE
    place record;
    made  runs;
BEGIN
    IF p_position IS NULL THEN
        UPDATE conversations SET message_count = message_count + 1, model_id = coalesce(p_model, model_id), updated_at = now()
        WHERE org_id = p_org AND id = p_conversation
        RETURNING message_count AS position, project_id, model_id, user_id, agent INTO place;
    ELSE
        SELECT p_position AS position, project_id, coalesce(p_model, model_id) AS model_id, user_id, agent INTO place
        FROM conversations WHERE org_id = p_org AND id = p_conversation;
    END IF;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO runs (org_id, project_id, id, conversation_id, message_id, message_position, model_id, user_id, status, options, input,
                      attempt, node_id, started_at, created_by, queued_at, interrupting)
    SELECT p_org, place.project_id, p_run, p_conversation, p_message, place.position, place.model_id, place.user_id,
           CASE WHEN p_node IS NULL THEN 'created' ELSE 'started' END,
           -- The agent as it is now: a later change of the conversation does not reach into the run.
           CASE WHEN place.agent IS NULL THEN p_options ELSE p_options || jsonb_build_object('agent', place.agent) END,
           jsonb_build_object('content', p_content), CASE WHEN p_node IS NULL THEN 0 ELSE 1 END, p_node,
           CASE WHEN p_node IS NULL THEN NULL ELSE now() END, p_key, CASE WHEN p_queued THEN clock_timestamp() END, p_interrupting
    WHERE p_queued OR NOT EXISTS (
        SELECT 1 FROM runs
        WHERE org_id = p_org AND conversation_id = p_conversation AND status IN ('created', 'started', 'paused') AND queued_at IS NULL)
    RETURNING * INTO made;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF p_position IS NULL THEN
        INSERT INTO messages (org_id, project_id, conversation_id, position, id, role, content, text, status, run_id, metadata)
        VALUES (p_org, place.project_id, p_conversation, place.position, p_message, 'user', p_content, p_text, 'completed', p_run, p_metadata);
    END IF;
    INSERT INTO journals (org_id, project_id, run_id, epoch, last_sequence) VALUES (p_org, place.project_id, p_run, 1, cardinality(p_sequences));
    INSERT INTO events (org_id, project_id, run_id, sequence, kind, payload)
    SELECT p_org, place.project_id, p_run, e.* FROM unnest(p_sequences, p_kinds, p_payloads) AS e;
    RETURN made;
END $$;

-- Events of one run, in the transaction of what they belong to: takes the sequences, checks the writer's epoch and the seal, stores them and tells
-- the other nodes. False, and nothing is stored, where the writer's right is over.
CREATE FUNCTION append_events_v1(
    p_org uuid, p_run uuid, p_epoch bigint, p_base int, p_seal boolean, p_sequences int[], p_kinds smallint[], p_payloads bytea[], p_notifications text[]
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
    IF cardinality(p_notifications) > 0 THEN
        PERFORM pg_notify('stoa_journal', payload) FROM unnest(p_notifications) AS payload;
    END IF;
    RETURN true;
END $$;

-- Lines of a run's bill: [{"model": slug or null for the run's own, "prompt_tokens": 1, …, "cost_usd": "0.1" or null}].
CREATE FUNCTION bill_run_v1(p_org uuid, p_run uuid, p_uses jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO model_calls (org_id, project_id, run_id, conversation_id, key_id, user_id, model, prompt_tokens, completion_tokens, cached_tokens,
                             reasoning_tokens, estimated, cost_usd)
    SELECT p_org, r.project_id, p_run, r.conversation_id, r.created_by, r.user_id,
           coalesce(u.model, (SELECT slug FROM models WHERE id = r.model_id), 'unknown'),
           u.prompt_tokens, u.completion_tokens, u.cached_tokens, u.reasoning_tokens, u.estimated, u.cost_usd
    FROM runs r CROSS JOIN jsonb_to_recordset(p_uses) AS u (
        model text, prompt_tokens int, completion_tokens int, cached_tokens int, reasoning_tokens int, estimated boolean, cost_usd numeric)
    WHERE r.org_id = p_org AND r.id = p_run;
END $$;

-- The end: the assistant's message (none where p_message is NULL: the run never had its turn), the state, the last events with the terminal one, the
-- seal and the bill. Gives whether other runs wait for their turn. Raises 'fenced' where the writer's right is over; and 'queue' where others wait
-- but the call stands alone (p_alone), since the next one's turn belongs into the same transaction.
CREATE FUNCTION end_run_v1(
    p_org uuid, p_run uuid, p_conversation uuid, p_message uuid, p_status text, p_output text, p_content jsonb, p_error jsonb, p_usage jsonb, p_turns jsonb,
    p_uses jsonb, p_alone boolean, p_epoch bigint, p_base int, p_sequences int[], p_kinds smallint[], p_payloads bytea[], p_notifications text[]
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
    IF NOT append_events_v1(p_org, p_run, p_epoch, p_base, true, p_sequences, p_kinds, p_payloads, p_notifications) THEN
        RAISE EXCEPTION 'fenced';
    END IF;
    IF jsonb_array_length(p_uses) > 0 THEN
        PERFORM bill_run_v1(p_org, p_run, p_uses);
    END IF;
    RETURN queue;
END $$;

-- What models read of a call that had begun when its run ended. Earlier releases wrote that it had not been made, which nobody knew.
UPDATE messages m SET turns = (
    SELECT jsonb_agg(CASE WHEN jsonb_typeof(turn -> 'calls') = 'array' THEN jsonb_set(turn, '{calls}', (
        SELECT coalesce(jsonb_agg(CASE WHEN t.id IS NULL THEN call ELSE jsonb_set(call, '{result}', to_jsonb(
            'Nobody knows whether this call was made: it had begun when the run ended, and its result was not received.'
            ' Do not take it for not made: find out before you make it again.'::text)) END ORDER BY c.number), '[]')
        FROM jsonb_array_elements(turn -> 'calls') WITH ORDINALITY AS c (call, number)
        LEFT JOIN tool_calls t ON t.org_id = m.org_id AND t.run_id = m.run_id AND t.status = 'unknown' AND t.id::text = call ->> 'id'
            AND call ->> 'result' = 'This call was not made: the run ended before.')) ELSE turn END ORDER BY u.number)
    FROM jsonb_array_elements(m.turns) WITH ORDINALITY AS u (turn, number))
WHERE jsonb_typeof(m.turns) = 'array' AND m.turns::text LIKE '%This call was not made: the run ended before.%'
  AND EXISTS (SELECT 1 FROM tool_calls t WHERE t.org_id = m.org_id AND t.run_id = m.run_id AND t.status = 'unknown');
