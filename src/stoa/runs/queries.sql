-- name: begin_run
-- A run with its journal, its first events and, where the position is NULL, its message (migration 0044).
SELECT * FROM begin_run_v2(
    p_org => $1, p_conversation => $2, p_run => $3, p_message => $4, p_position => $5, p_model => $6,
    p_content => $7, p_text => $8, p_metadata => $9, p_options => $10, p_node => $11, p_key => $12,
    p_queued => $13, p_interrupting => $14,
    p_sequences => $15, p_kinds => $16, p_payloads => $17);

-- name: begin_runs
-- The same for several runs of one tenant, in the order of the lists: a row for each, NULL for one that was refused.
-- Waits no longer than $19 for a lock.
SELECT b.* FROM (SELECT set_config('lock_timeout', $19, true) OFFSET 0) AS limited, LATERAL (
    SELECT r.*, v.* FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::int[], $6::uuid[], $7::text[], $8::text[], $9::text[],
        $10::text[], $11::uuid[], $12::uuid[], $13::boolean[], $14::boolean[]) WITH ORDINALITY
        AS r (org, conversation, run, message, position, model, content, text, metadata, options, node, key, queued,
              interrupting, number)
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(sequence ORDER BY sequence), '{}') AS sequences,
               coalesce(array_agg(kind ORDER BY sequence), '{}') AS kinds,
               coalesce(array_agg(payload ORDER BY sequence), '{}') AS payloads
        FROM unnest($15::int[], $16::int[], $17::smallint[], $18::bytea[]) AS v (number, sequence, kind, payload)
        WHERE v.number = r.number) AS v
    ORDER BY r.number OFFSET 0) AS n, LATERAL begin_run_v2(
    p_org => n.org, p_conversation => n.conversation, p_run => n.run, p_message => n.message,
    p_position => n.position, p_model => n.model, p_content => n.content::jsonb, p_text => n.text,
    p_metadata => n.metadata::jsonb, p_options => n.options::jsonb, p_node => n.node, p_key => n.key,
    p_queued => n.queued, p_interrupting => n.interrupting,
    p_sequences => n.sequences, p_kinds => n.kinds, p_payloads => n.payloads) AS b;

-- name: run
SELECT * FROM runs WHERE org_id = $1 AND id = $2;

-- name: run_for_update
-- The run, locked until the transaction ends.
SELECT * FROM runs WHERE org_id = $1 AND id = $2 FOR UPDATE;

-- name: active_run
-- The conversation's active run, if any.
SELECT id FROM runs
WHERE org_id = $1 AND conversation_id = $2 AND status IN ('created', 'started', 'paused') AND queued_at IS NULL;

-- name: queued
-- The conversation's queue, the next one first.
SELECT * FROM runs
WHERE org_id = $1 AND conversation_id = $2 AND queued_at IS NOT NULL
ORDER BY interrupting DESC, queued_at, id;

-- name: next_queued
-- The next queued run; the caller has locked the conversation.
SELECT * FROM runs
WHERE org_id = $1 AND conversation_id = $2 AND queued_at IS NOT NULL
ORDER BY interrupting DESC, queued_at, id LIMIT 1 FOR UPDATE;

-- name: promote
-- Promotes a queued run: its message has its position, and any node may claim the run.
UPDATE runs SET queued_at = NULL, message_position = $3, model_id = coalesce($4, model_id)
WHERE org_id = $1 AND id = $2;

-- name: interrupt
-- Requests the cancel in the transaction of the interrupting run, so that after any crash the active run ends, and so
-- does each interrupting run before the newest.
UPDATE runs SET cancel_reason = coalesce(cancel_reason, 'interrupted')
WHERE org_id = $1 AND conversation_id = $2 AND id <> $3 AND status IN ('created', 'started', 'paused')
  AND (queued_at IS NULL OR interrupting);

-- name: unended
-- Whether the conversation has an active or queued run.
SELECT EXISTS (SELECT 1 FROM runs
               WHERE org_id = $1 AND conversation_id = $2 AND status IN ('created', 'started', 'paused'));

-- name: waiting
-- Of all tenants: runs that no node works on.
SELECT 'queued', count(*) FROM runs WHERE queued_at IS NOT NULL
UNION ALL
SELECT 'unclaimed', count(*) FROM runs
WHERE status IN ('created', 'started') AND queued_at IS NULL AND node_id IS NULL
UNION ALL
SELECT 'paused', count(*) FROM runs
WHERE status = 'paused' AND status IN ('created', 'started', 'paused') AND queued_at IS NULL;

-- name: listed_runs
-- The runs of a page, in its order.
SELECT r.* FROM unnest($2::uuid[]) WITH ORDINALITY AS page (id, number)
JOIN runs r ON r.org_id = $1 AND r.id = page.id
ORDER BY page.number;

-- name: dialect_runs
-- Those that clients of a dialect ($2) began with an agent ($3), newest first, after ($4, $5). Among the
-- newest $6 those with a status of $7, of the conversation $8, whose status is no older than $9: at most $10.
WITH newest AS (
    SELECT * FROM runs
    WHERE org_id = $1 AND options->'wanted'->>'dialect' = $2 AND options->'wanted'->>'agent' = $3
        AND (created_at, id) < ($4::timestamptz, $5::uuid)
    ORDER BY created_at DESC, id DESC LIMIT $6
)
SELECT * FROM newest
WHERE ($7::text[] IS NULL OR status = ANY ($7)) AND ($8::uuid IS NULL OR conversation_id = $8)
    AND ($9::timestamptz IS NULL OR coalesce(ended_at, started_at, created_at) >= $9)
ORDER BY created_at DESC, id DESC LIMIT $10;

-- name: count_dialect_runs
-- The same, counted over all pages.
WITH newest AS (
    SELECT status, conversation_id, created_at, started_at, ended_at FROM runs
    WHERE org_id = $1 AND options->'wanted'->>'dialect' = $2 AND options->'wanted'->>'agent' = $3
    ORDER BY created_at DESC, id DESC LIMIT $4
)
SELECT count(*) FROM newest
WHERE ($5::text[] IS NULL OR status = ANY ($5)) AND ($6::uuid IS NULL OR conversation_id = $6)
    AND ($7::timestamptz IS NULL OR coalesce(ended_at, started_at, created_at) >= $7);

-- name: awaiting_runs
-- A page of runs of the statuses in $2, or, where $5 is true, with an open question to a person.
SELECT * FROM runs
WHERE org_id = $1 AND ($3::uuid IS NULL OR conversation_id = $3) AND ($4::text IS NULL OR user_id = $4)
  AND ($6::uuid IS NULL OR app_id = $6) AND ($7::uuid IS NULL OR session_id = $7)
  AND ($2::text[] IS NULL OR status = ANY ($2)
       OR $5::boolean AND status IN ('started', 'paused') AND id IN (
          SELECT run_id FROM input_requests WHERE org_id = $1 AND status = 'pending'))
ORDER BY {order} LIMIT $8 OFFSET $9;

-- name: count_awaiting_runs
SELECT count(*) FROM (
    SELECT FROM runs
    WHERE org_id = $1 AND ($3::uuid IS NULL OR conversation_id = $3) AND ($4::text IS NULL OR user_id = $4)
      AND ($6::uuid IS NULL OR app_id = $6) AND ($7::uuid IS NULL OR session_id = $7)
      AND ($2::text[] IS NULL OR status = ANY ($2)
           OR $5::boolean AND status IN ('started', 'paused') AND id IN (
              SELECT run_id FROM input_requests WHERE org_id = $1 AND status = 'pending'))
    LIMIT 10001
) counted;

-- name: figures
-- An app's runs in intervals of $5 seconds, of at most $6 runs, the newest.
WITH newest AS (
    SELECT created_at, status, started_at, ended_at, usage FROM runs
    WHERE org_id = $1 AND app_id = $2 AND created_at >= $3 AND created_at < $4 ORDER BY created_at DESC, id LIMIT $6
)
SELECT to_timestamp(floor(extract(epoch FROM created_at) / $5::int) * $5::int) AS at,
       count(*) AS runs,
       count(*) FILTER (WHERE status = 'completed') AS completed,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE status = 'canceled') AS canceled,
       coalesce(sum((usage ->> 'total_tokens')::bigint), 0)::bigint AS tokens,
       sum((usage ->> 'cost_usd')::float8) AS cost_usd,
       avg(extract(epoch FROM ended_at - created_at) * 1000)::float8 AS milliseconds_average,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - created_at) * 1000)::float8
           AS milliseconds_p95
FROM newest GROUP BY 1 ORDER BY 1;

-- name: end_run
-- The end: message, state, terminal event, seal and bill; returns whether other runs wait in the queue (migration
-- 0025).
SELECT end_run_v1(
    p_org => $1, p_run => $2, p_conversation => $3, p_message => $4, p_status => $5, p_output => $6,
    p_content => $7, p_error => $8,
    p_usage => $9, p_turns => $10, p_uses => $11, p_alone => $12, p_epoch => $13, p_base => $14,
    p_sequences => $15, p_kinds => $16, p_payloads => $17, p_notifications => $18);

-- name: end_runs
-- The same for several runs, in the order of the lists: all of them, or none. Waits no longer than $20 for a lock.
SELECT count(end_run_v1(
    p_org => e.org, p_run => e.run, p_conversation => e.conversation, p_message => e.message, p_status => e.status,
    p_output => e.output, p_content => e.content::jsonb, p_error => e.error::jsonb, p_usage => e.usage::jsonb,
    p_turns => e.turns::jsonb, p_uses => e.uses::jsonb, p_alone => e.alone, p_epoch => e.epoch, p_base => e.base,
    p_sequences => e.sequences, p_kinds => e.kinds, p_payloads => e.payloads,
    p_notifications => CASE WHEN e.number = 1 THEN $19::text[] ELSE '{}' END))
FROM (SELECT set_config('lock_timeout', $20, true) OFFSET 0) AS limited, LATERAL (
    SELECT r.*, v.* FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::text[], $11::text[], $12::boolean[], $13::bigint[], $14::int[]) WITH ORDINALITY
        AS r (org, run, conversation, message, status, output, content, error, usage, turns, uses, alone, epoch, base,
              number)
    CROSS JOIN LATERAL (
        SELECT array_agg(sequence ORDER BY sequence) AS sequences, array_agg(kind ORDER BY sequence) AS kinds,
               array_agg(payload ORDER BY sequence) AS payloads
        FROM unnest($15::int[], $16::int[], $17::smallint[], $18::bytea[]) AS v (number, sequence, kind, payload)
        WHERE v.number = r.number) AS v
    ORDER BY r.number OFFSET 0) AS e;

-- name: want_cancel
-- Requests the cancel; the node that works on the run records the end. The first reason stays.
UPDATE runs SET cancel_reason = coalesce(cancel_reason, $3)
WHERE org_id = $1 AND id = $2 AND status IN ('created', 'started', 'paused')
RETURNING node_id;

-- name: take_from_node
-- Afterwards the node that executed the run can store no more steps, because each write checks the node.
UPDATE runs SET node_id = NULL WHERE org_id = $1 AND id = $2 AND node_id IS NOT NULL;

-- name: claim
-- Of all tenants.
-- Claims up to $2 runs for this node. First the runs of dead nodes, without the limit per project, because they have
-- started. Then unclaimed runs, one project after another, beginning after project $6; within a project one key after
-- another, within a key the oldest first. $3 are projects with runs on this node, $4 how many more each may have, $5
-- the same for every other project.
WITH RECURSIVE holders AS (
    (SELECT node_id FROM runs WHERE status IN ('created', 'started') AND node_id IS NOT NULL ORDER BY node_id LIMIT 1)
    UNION ALL
    SELECT (SELECT r.node_id FROM runs r
            WHERE r.status IN ('created', 'started') AND r.node_id IS NOT NULL AND r.node_id > h.node_id
            ORDER BY r.node_id LIMIT 1)
    FROM holders h WHERE h.node_id IS NOT NULL
), lost AS (
    SELECT r.org_id, r.id FROM (
        SELECT node_id FROM holders WHERE node_id <> $1 AND node_id NOT IN (SELECT id FROM living_nodes)
    ) h CROSS JOIN LATERAL (
        SELECT org_id, id FROM runs
        WHERE status IN ('created', 'started') AND node_id IS NOT NULL AND node_id = h.node_id
        LIMIT $2 FOR UPDATE SKIP LOCKED
    ) r LIMIT $2
), projects AS (
    SELECT $6::uuid AS project_id, false AS found, false AS wrapped, 0 AS turn
    UNION ALL
    SELECT coalesce(n.project_id, '00000000-0000-0000-0000-000000000000'), n.project_id IS NOT NULL,
           p.wrapped OR n.project_id IS NULL, p.turn + 1
    FROM projects p LEFT JOIN LATERAL (
        SELECT r.project_id FROM runs r
        WHERE r.status IN ('created', 'started') AND r.queued_at IS NULL AND r.node_id IS NULL
          AND r.project_id > p.project_id
        ORDER BY r.project_id LIMIT 1
    ) n ON true
    WHERE NOT p.wrapped OR n.project_id <= $6
), roomy AS (
    SELECT p.project_id, p.turn, coalesce(here.room, $5::int) AS room
    FROM projects p LEFT JOIN unnest($3::uuid[], $4::int[]) AS here(project_id, room) ON here.project_id = p.project_id
    WHERE p.found AND coalesce(here.room, $5::int) > 0 LIMIT $2
), lanes AS (
    SELECT p.project_id, p.turn, p.room, k.key, count(*) OVER () AS lanes FROM roomy p CROSS JOIN LATERAL (
        WITH RECURSIVE keys AS (
            (SELECT coalesce(created_by, '00000000-0000-0000-0000-000000000000') AS key FROM runs
             WHERE status IN ('created', 'started') AND queued_at IS NULL AND node_id IS NULL
               AND project_id = p.project_id
             ORDER BY coalesce(created_by, '00000000-0000-0000-0000-000000000000') LIMIT 1)
            UNION ALL
            SELECT (SELECT coalesce(r.created_by, '00000000-0000-0000-0000-000000000000') FROM runs r
                    WHERE r.status IN ('created', 'started') AND r.queued_at IS NULL AND r.node_id IS NULL
                      AND r.project_id = p.project_id
                      AND coalesce(r.created_by, '00000000-0000-0000-0000-000000000000') > k.key
                    ORDER BY coalesce(r.created_by, '00000000-0000-0000-0000-000000000000') LIMIT 1)
            FROM keys k WHERE k.key IS NOT NULL
        ) SELECT key FROM keys WHERE key IS NOT NULL
    ) k
), waiting AS (
    SELECT w.org_id, w.id, l.project_id, l.turn, l.room,
           row_number() OVER (PARTITION BY l.project_id, l.key ORDER BY w.created_at) AS turn_of_key
    FROM lanes l CROSS JOIN LATERAL (
        SELECT org_id, id, created_at FROM runs
        WHERE status IN ('created', 'started') AND queued_at IS NULL AND node_id IS NULL AND project_id = l.project_id
          AND coalesce(created_by, '00000000-0000-0000-0000-000000000000') = l.key
        ORDER BY created_at LIMIT least(l.room, 1 + 2 * $2 / l.lanes) FOR UPDATE SKIP LOCKED
    ) w
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY project_id ORDER BY turn_of_key, random()) AS turn_of_project FROM waiting
), taken AS (
    (SELECT org_id, id FROM lost
     UNION ALL
     (SELECT org_id, id FROM ranked WHERE turn_of_project <= room ORDER BY turn_of_project, turn)) LIMIT $2
)
UPDATE runs r SET node_id = $1, status = 'started', started_at = coalesce(started_at, now()), attempt = attempt + 1
FROM taken t WHERE r.org_id = t.org_id AND r.id = t.id RETURNING r.*;

-- name: give_back
-- Of all tenants.
-- Called when this node stops: releases its runs, and their next claim is no new attempt.
UPDATE runs SET node_id = NULL, attempt = greatest(attempt - 1, 0)
WHERE node_id = $1 AND status IN ('created', 'started');

-- name: hide
-- Hides the run in a dialect; it stays in its conversation.
UPDATE runs SET options = jsonb_set(options, '{wanted,deleted}', 'true')
WHERE org_id = $1 AND id = $2 AND options ? 'wanted';

-- name: all_hidden
-- Whether a conversation was created for runs that are all hidden now, so that nothing refers to it any more.
SELECT bool_and(coalesce(options->'wanted', '{}') @> '{"deleted": true, "own": true}') FROM runs
WHERE org_id = $1 AND conversation_id = $2;

-- name: unstored
-- Of all tenants: runs whose clients asked for nothing to be kept, some time after their end (migration 0080).
SELECT * FROM runs WHERE options->'wanted'->>'store' = 'false' AND ended_at < now() - interval '60 seconds'
    AND ended_at < now() - make_interval(secs => coalesce((options->'wanted'->>'keep_seconds')::float8, 60)) LIMIT 100;

-- name: delete_runs
-- Removes a conversation's runs; returns the bytes.
DELETE FROM runs WHERE org_id = $1 AND conversation_id = $2
RETURNING id, coalesce(octet_length(output), 0) + octet_length(input::text)
              + coalesce(octet_length(result::text), 0) AS bytes;


-- name: save_checkpoint
-- The run's state after a step. Fenced: only the node that has claimed the run can write it.
UPDATE runs SET checkpoint = $4, checkpoint_sequence = $5
WHERE org_id = $1 AND id = $2 AND node_id = $3 AND status = 'started' AND attempt = $6
RETURNING id;

-- name: is_saved
-- Whether the step is stored already, by a transaction whose commit was not acknowledged. Arguments of save_checkpoint.
SELECT EXISTS (SELECT 1 FROM runs WHERE org_id = $1 AND id = $2 AND node_id = $3 AND status = 'started'
               AND checkpoint = $4 AND checkpoint_sequence = $5 AND attempt = $6);

-- name: keep_nodes
-- Stores the states of a graph's nodes in the transaction of the step that changed them.
INSERT INTO run_nodes (org_id, project_id, run_id, path, state)
SELECT $1, $2, $3, n.path, n.state FROM unnest($4::text[], $5::jsonb[]) AS n (path, state)
ON CONFLICT (org_id, run_id, path) DO UPDATE SET state = excluded.state;

-- name: nodes
SELECT path, state FROM run_nodes WHERE org_id = $1 AND run_id = $2;

-- name: end_graph
-- The end of a graph's run: stores its result and removes the states of its nodes.
WITH gone AS (DELETE FROM run_nodes WHERE org_id = $1 AND run_id = $2)
UPDATE runs SET result = $3 WHERE org_id = $1 AND id = $2;

-- name: pause
-- The run waits for people and no node works on it. Its next claim is no new attempt.
UPDATE runs SET status = 'paused', node_id = NULL, attempt = attempt - 1, checkpoint = $4, checkpoint_sequence = $5
WHERE org_id = $1 AND id = $2 AND node_id = $3 AND status = 'started' AND attempt = $6
RETURNING id;

-- name: resume
-- After an answer: any node may claim the run.
UPDATE runs SET status = 'started', node_id = NULL WHERE org_id = $1 AND id = $2 AND status = 'paused';

-- name: enter_call
-- The tool ledger: before a call, and after it.
INSERT INTO tool_calls (org_id, project_id, run_id, id, conversation_id, name, kind, input, idempotent, status, result,
    error, settled_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, CASE WHEN $10 <> 'begun' THEN now() END)
ON CONFLICT (org_id, run_id, id) DO UPDATE SET
    status = excluded.status, input = excluded.input, result = excluded.result, error = excluded.error,
    settled_at = excluded.settled_at,
    times = tool_calls.times + CASE WHEN excluded.status = 'begun' THEN 1 ELSE 0 END;

-- name: tool_calls
SELECT * FROM tool_calls WHERE org_id = $1 AND run_id = $2 ORDER BY begun_at, id;

-- name: calls_of_earlier_answers
-- Calls of other runs that answered (or began to answer) the same message.
SELECT t.* FROM tool_calls t JOIN runs r ON r.org_id = t.org_id AND r.id = t.run_id
WHERE r.org_id = $1 AND r.message_id = $2 AND r.id <> $3 ORDER BY t.begun_at, t.id;

-- name: insert_request
-- A question to a person, open for so many seconds.
INSERT INTO input_requests (org_id, project_id, run_id, id, conversation_id, type, prompt, params, editable_params,
    options, expires_at, schema)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now() + $11::float8 * interval '1 second', $12);

-- name: pending_requests
SELECT * FROM input_requests
WHERE org_id = $1 AND run_id = ANY ($2::uuid[]) AND status = 'pending'
ORDER BY created_at, id;

-- name: answers
-- Answered and expired questions of a run.
SELECT id, status, answer FROM input_requests WHERE org_id = $1 AND run_id = $2 AND status IN ('answered', 'expired');

-- name: unread_answers
-- Whether any of these questions is answered or expired: then the run must not be paused.
SELECT EXISTS (SELECT 1 FROM input_requests
               WHERE org_id = $1 AND run_id = $2 AND id = ANY ($3::uuid[]) AND status <> 'pending');

-- name: answer_request
-- Stores an answer; only the first one is accepted.
UPDATE input_requests SET status = 'answered', answer = $4, answered_at = now(), answered_by = $5
WHERE org_id = $1 AND run_id = $2 AND id = $3 AND status = 'pending' RETURNING id;

-- name: expire_requests
-- Of all tenants.
-- Expires questions that nobody answered in time; their runs go on. Locks runs before their questions, as an answer
-- does.
WITH locked AS (
    SELECT r.org_id, r.id FROM runs r
    WHERE EXISTS (SELECT 1 FROM input_requests i
                  WHERE i.org_id = r.org_id AND i.run_id = r.id AND i.status = 'pending' AND i.expires_at < now())
    ORDER BY r.org_id, r.id FOR UPDATE SKIP LOCKED
), expired AS (
    UPDATE input_requests i SET status = 'expired' FROM locked
    WHERE i.org_id = locked.org_id AND i.run_id = locked.id AND i.status = 'pending' AND i.expires_at < now()
    RETURNING i.org_id, i.run_id
)
UPDATE runs r SET status = 'started', node_id = NULL FROM (SELECT DISTINCT * FROM expired) e
WHERE r.org_id = e.org_id AND r.id = e.run_id AND r.status = 'paused' RETURNING r.id;

-- name: resume_without_question
-- Of all tenants.
-- Paused runs without an open question (it expired while the run was being paused), and those whose canceling node
-- died.
UPDATE runs r SET status = 'started', node_id = NULL WHERE r.status = 'paused'
  AND (r.cancel_reason IS NOT NULL
       OR NOT EXISTS (SELECT 1 FROM input_requests i
                      WHERE i.org_id = r.org_id AND i.run_id = r.id AND i.status = 'pending'));

-- name: paused_credentials
-- Of all tenants.
-- The owners of paused runs: the user if a signed-in user started the run, else the credential.
SELECT DISTINCT org_id, CASE WHEN options ? 'signed_in' THEN owner_id ELSE created_by END AS credential_id
FROM runs WHERE status = 'paused' AND cancel_reason IS NULL AND created_by IS NOT NULL;

-- name: active_credentials
-- Of all tenants.
-- The same for every run that has not ended.
SELECT DISTINCT org_id, CASE WHEN options ? 'signed_in' THEN owner_id ELSE created_by END AS credential_id
FROM runs WHERE status IN ('created', 'started', 'paused') AND cancel_reason IS NULL AND created_by IS NOT NULL;

-- name: resume_of_credentials
-- The paused runs of these organizations' credentials: any node may claim them.
UPDATE runs r SET status = 'started', node_id = NULL
FROM unnest($1::uuid[], $2::uuid[]) AS gone(org_id, id)
WHERE r.status = 'paused' AND r.org_id = gone.org_id
  AND CASE WHEN r.options ? 'signed_in' THEN r.owner_id ELSE r.created_by END = gone.id
RETURNING r.id;

-- name: cancel_of_credentials
-- Requests the cancel of every run of these: the node that works on one, or claims it next, ends it.
UPDATE runs r SET cancel_reason = $3
FROM unnest($1::uuid[], $2::uuid[]) AS gone(org_id, id)
WHERE r.status IN ('created', 'started', 'paused') AND r.cancel_reason IS NULL AND r.org_id = gone.org_id
  AND CASE WHEN r.options ? 'signed_in' THEN r.owner_id ELSE r.created_by END = gone.id
RETURNING r.id;

-- name: hand_over
-- Releases one run of a node that shuts down, between two steps. Its next claim is no new attempt.
UPDATE runs SET node_id = NULL, attempt = attempt - 1
WHERE org_id = $1 AND id = $2 AND node_id = $3 AND attempt = $4 AND status = 'started'
RETURNING id;

-- name: still_carried
-- Whether the run still belongs to this node, at this attempt.
SELECT EXISTS (SELECT 1 FROM runs
               WHERE org_id = $1 AND id = $2 AND node_id = $3 AND attempt = $4 AND status = 'started');

-- name: own
-- Of all tenants.
-- The runs that belong to this node according to the database, with requested cancels.
SELECT org_id, id, attempt, cancel_reason FROM runs WHERE node_id = $1 AND status IN ('created', 'started');

-- name: let_go
-- Called after a fenced write: releases the run if no other node has claimed it.
UPDATE runs SET node_id = NULL WHERE org_id = $1 AND id = $2 AND node_id = $3 AND attempt = $4 AND status = 'started';

-- name: delete_run_rows
-- Removes rows of runs in other tables; returns rows and bytes.
WITH calls AS (
    DELETE FROM tool_calls WHERE org_id = $1 AND run_id = ANY ($2::uuid[])
    RETURNING octet_length(input::text) + coalesce(octet_length(result), 0) AS bytes
), requests AS (
    DELETE FROM input_requests WHERE org_id = $1 AND run_id = ANY ($2::uuid[])
    RETURNING octet_length(prompt) + octet_length(params::text) AS bytes
), nodes AS (
    DELETE FROM run_nodes WHERE org_id = $1 AND run_id = ANY ($2::uuid[])
    RETURNING octet_length(state::text) AS bytes
), bill AS (
    -- Anonymizes the lines of the bill; the amounts stay.
    UPDATE model_calls SET run_id = NULL, conversation_id = NULL, user_id = NULL
    WHERE org_id = $1 AND run_id = ANY ($2::uuid[])
    RETURNING 1
)
SELECT (SELECT count(*) FROM calls) AS calls,
       (SELECT coalesce(sum(bytes), 0) FROM calls)::bigint AS call_bytes,
       (SELECT count(*) FROM requests) AS requests,
       (SELECT coalesce(sum(bytes), 0) FROM requests)::bigint AS request_bytes,
       (SELECT count(*) FROM nodes) AS nodes,
       (SELECT coalesce(sum(bytes), 0) FROM nodes)::bigint AS node_bytes,
       (SELECT count(*) FROM bill) AS bill;

-- name: close_requests
-- Closes the open questions of a run that ended.
UPDATE input_requests SET status = 'canceled' WHERE org_id = $1 AND run_id = $2 AND status = 'pending';

-- name: close_calls
-- Calls of a run that ended before their result was in.
UPDATE tool_calls SET status = 'unknown', settled_at = now() WHERE org_id = $1 AND run_id = $2 AND status = 'begun';

-- name: bill
-- Lines of the bill (migration 0025).
SELECT bill_run_v1(p_org => $1, p_run => $2, p_uses => $3);

-- name: billed
-- The usage on the bill of a run so far; no cost if none of its calls had a price.
SELECT coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens,
       coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens,
       coalesce(sum(cached_tokens), 0)::bigint AS cached_tokens,
       coalesce(sum(reasoning_tokens), 0)::bigint AS reasoning_tokens,
       coalesce(bool_or(estimated), false) AS estimated, sum(cost_usd) AS cost_usd
FROM model_calls WHERE org_id = $1 AND run_id = $2;
