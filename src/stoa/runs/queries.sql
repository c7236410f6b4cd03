-- name: begin_run
-- A run with its journal, its first events and, where the position is NULL, its message (migration 0021).
SELECT * FROM begin_run($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17);

-- name: run
SELECT * FROM runs WHERE org_id = $1 AND id = $2;

-- name: run_for_update
-- The run, held against every other writer until the transaction ends.
SELECT * FROM runs WHERE org_id = $1 AND id = $2 FOR UPDATE;

-- name: active_run
-- The conversation's active run, if any.
SELECT id FROM runs WHERE org_id = $1 AND conversation_id = $2 AND status IN ('created', 'started', 'paused') AND queued_at IS NULL;

-- name: queued
-- The conversation's queue, the next one first.
SELECT * FROM runs WHERE org_id = $1 AND conversation_id = $2 AND queued_at IS NOT NULL ORDER BY interrupting DESC, queued_at, id;

-- name: next_queued
-- Whose turn it is; the caller holds the conversation.
SELECT * FROM runs WHERE org_id = $1 AND conversation_id = $2 AND queued_at IS NOT NULL ORDER BY interrupting DESC, queued_at, id LIMIT 1 FOR UPDATE;

-- name: promote
-- Its turn has come: its message has its place, and anybody may carry it.
UPDATE runs SET queued_at = NULL, message_position = $3, model_id = $4 WHERE org_id = $1 AND id = $2;

-- name: interrupt
-- An intent, beside the run that interrupts: whoever dies now, the run under way ends, and so does each interrupting one before the newest.
UPDATE runs SET cancel_reason = coalesce(cancel_reason, 'interrupted')
WHERE org_id = $1 AND conversation_id = $2 AND id <> $3 AND status IN ('created', 'started', 'paused') AND (queued_at IS NULL OR interrupting);

-- name: unended
-- Whether the conversation has a run that has not ended, or waits for its turn.
SELECT EXISTS (SELECT 1 FROM runs WHERE org_id = $1 AND conversation_id = $2 AND status IN ('created', 'started', 'paused'));

-- name: waiting
-- Of all tenants: runs that nobody carries.
SELECT 'queued', count(*) FROM runs WHERE queued_at IS NOT NULL
UNION ALL SELECT 'unclaimed', count(*) FROM runs WHERE status IN ('created', 'started') AND queued_at IS NULL AND node_id IS NULL
UNION ALL SELECT 'paused', count(*) FROM runs WHERE status = 'paused' AND status IN ('created', 'started', 'paused') AND queued_at IS NULL;

-- name: list_runs
-- A page of runs, newest started first.
SELECT * FROM runs
WHERE org_id = $1 AND ($2::text[] IS NULL OR status = ANY ($2)) AND ($3::uuid IS NULL OR conversation_id = $3)
  AND ($4::text IS NULL OR user_id = $4)
ORDER BY {order} LIMIT $5 OFFSET $6;

-- name: count_runs
SELECT count(*) FROM runs
WHERE org_id = $1 AND ($2::text[] IS NULL OR status = ANY ($2)) AND ($3::uuid IS NULL OR conversation_id = $3)
  AND ($4::text IS NULL OR user_id = $4);

-- name: end_run
-- The end: message, state, terminal event, seal and bill; gives whether others wait for their turn (migration 0021).
SELECT end_run($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18);

-- name: want_cancel
-- An intent; whoever carries the run records the end. The first reason stays.
UPDATE runs SET cancel_reason = coalesce(cancel_reason, $3) WHERE org_id = $1 AND id = $2 AND status IN ('created', 'started', 'paused')
RETURNING node_id;

-- name: claim
-- Takes up to $2 runs that nobody carries: new ones, given-back ones, and those of nodes whose lease ran out or whose
-- advisory lock is free (their process is gone; but a database that has just started holds nobody's lock yet, and says
-- nothing). Each is this node's from the commit on.
WITH held AS (
    SELECT objid::bigint AS key FROM pg_locks
    WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND classid = 21366 AND granted
), dead AS (
    SELECT n.id FROM nodes n WHERE n.id <> $1 AND (n.expires_at < now()
        OR NOT EXISTS (SELECT 1 FROM held WHERE held.key = n.lock_key) AND pg_postmaster_start_time() < now() - interval '2.5 seconds')
), orphans AS (
    SELECT r.org_id, r.id FROM runs r
    WHERE r.status IN ('created', 'started') AND r.queued_at IS NULL
      AND (r.node_id IS NULL OR r.node_id IN (SELECT id FROM dead) OR NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = r.node_id))
    ORDER BY r.created_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE runs r SET node_id = $1, status = 'started', started_at = coalesce(started_at, now()), attempt = attempt + 1
FROM orphans o WHERE r.org_id = o.org_id AND r.id = o.id RETURNING r.*;

-- name: give_back
-- This node is leaving: its runs are anybody's, and the coming claim is no new attempt.
UPDATE runs SET node_id = NULL, attempt = greatest(attempt - 1, 0) WHERE node_id = $1 AND status IN ('created', 'started');

-- name: insert_node
INSERT INTO nodes (id, lock_key, expires_at) VALUES ($1, $2, now() + $3::float8 * interval '1 second')
ON CONFLICT (id) DO UPDATE SET lock_key = excluded.lock_key, expires_at = excluded.expires_at;

-- name: renew_node
-- One statement per node and second; gives how many other nodes live.
WITH me AS (UPDATE nodes SET expires_at = now() + $2::float8 * interval '1 second' WHERE id = $1 RETURNING id)
SELECT (SELECT count(*) FROM me) AS mine, (SELECT count(*) FROM nodes WHERE id <> $1 AND expires_at > now()) AS others;

-- name: remove_node
DELETE FROM nodes WHERE id = $1;

-- name: remove_old_nodes
-- Nodes long dead, whose runs were claimed.
DELETE FROM nodes n WHERE expires_at < now() - interval '1 hour' AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.node_id = n.id AND r.status IN ('created', 'started'));

-- name: delete_runs
-- A conversation's runs, with the bytes they held.
DELETE FROM runs WHERE org_id = $1 AND conversation_id = $2
RETURNING id, coalesce(octet_length(output), 0) + octet_length(input::text) AS bytes;


-- name: save_checkpoint
-- The run's state after a step, by the node that carries it and nobody else.
UPDATE runs SET checkpoint = $4, checkpoint_sequence = $5 WHERE org_id = $1 AND id = $2 AND node_id = $3 AND status = 'started' AND attempt = $6
RETURNING id;

-- name: pause
-- The run waits for people: nobody carries it. The coming claim is no new attempt.
UPDATE runs SET status = 'paused', node_id = NULL, attempt = attempt - 1, checkpoint = $4, checkpoint_sequence = $5
WHERE org_id = $1 AND id = $2 AND node_id = $3 AND status = 'started' AND attempt = $6
RETURNING id;

-- name: resume
-- An answer is there: anybody may carry the run on.
UPDATE runs SET status = 'started', node_id = NULL WHERE org_id = $1 AND id = $2 AND status = 'paused';

-- name: enter_call
-- The tool ledger: before a call, and after it.
INSERT INTO tool_calls (org_id, project_id, run_id, id, conversation_id, name, kind, input, idempotent, status, result, error, settled_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, CASE WHEN $10 <> 'begun' THEN now() END)
ON CONFLICT (org_id, run_id, id) DO UPDATE SET
    status = excluded.status, input = excluded.input, result = excluded.result, error = excluded.error, settled_at = excluded.settled_at,
    times = tool_calls.times + CASE WHEN excluded.status = 'begun' THEN 1 ELSE 0 END;

-- name: tool_calls
SELECT * FROM tool_calls WHERE org_id = $1 AND run_id = $2 ORDER BY begun_at, id;

-- name: insert_request
-- A question to a person, open for so many seconds.
INSERT INTO input_requests (org_id, project_id, run_id, id, conversation_id, type, prompt, params, editable_params, options, expires_at, schema)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now() + $11::float8 * interval '1 second', $12);

-- name: pending_requests
SELECT * FROM input_requests WHERE org_id = $1 AND run_id = ANY ($2::uuid[]) AND status = 'pending' ORDER BY created_at, id;

-- name: answers
-- What people said so far, or did not say in time.
SELECT id, status, answer FROM input_requests WHERE org_id = $1 AND run_id = $2 AND status IN ('answered', 'expired');

-- name: unread_answers
-- Whether any of these questions has its answer: then there is nothing to wait for.
SELECT EXISTS (SELECT 1 FROM input_requests WHERE org_id = $1 AND run_id = $2 AND id = ANY ($3::uuid[]) AND status <> 'pending');

-- name: answer_request
-- The first answer is the answer.
UPDATE input_requests SET status = 'answered', answer = $4, answered_at = now(), answered_by = $5
WHERE org_id = $1 AND run_id = $2 AND id = $3 AND status = 'pending' RETURNING id;

-- name: expire_requests
-- Questions that nobody answered in time; their runs go on. Runs are locked before their questions, as an answer does.
WITH held AS (
    SELECT r.org_id, r.id FROM runs r
    WHERE EXISTS (SELECT 1 FROM input_requests i WHERE i.org_id = r.org_id AND i.run_id = r.id AND i.status = 'pending' AND i.expires_at < now())
    ORDER BY r.org_id, r.id FOR UPDATE SKIP LOCKED
), expired AS (
    UPDATE input_requests i SET status = 'expired' FROM held
    WHERE i.org_id = held.org_id AND i.run_id = held.id AND i.status = 'pending' AND i.expires_at < now() RETURNING i.org_id, i.run_id
)
UPDATE runs r SET status = 'started', node_id = NULL FROM (SELECT DISTINCT * FROM expired) e
WHERE r.org_id = e.org_id AND r.id = e.run_id AND r.status = 'paused' RETURNING r.id;

-- name: resume_unasked
-- Paused runs without an open question (it expired while the run was being paused), and those to be canceled whose canceller died.
UPDATE runs r SET status = 'started', node_id = NULL WHERE r.status = 'paused'
  AND (r.cancel_reason IS NOT NULL
       OR NOT EXISTS (SELECT 1 FROM input_requests i WHERE i.org_id = r.org_id AND i.run_id = r.id AND i.status = 'pending'));

-- name: hand_over
-- One run of a node that is leaving, between two steps: anybody may carry it on, and the coming claim is no new attempt.
UPDATE runs SET node_id = NULL, attempt = attempt - 1 WHERE org_id = $1 AND id = $2 AND node_id = $3 AND attempt = $4 AND status = 'started'
RETURNING id;

-- name: held
-- Whether this node still carries the run, at this attempt.
SELECT EXISTS (SELECT 1 FROM runs WHERE org_id = $1 AND id = $2 AND node_id = $3 AND attempt = $4 AND status = 'started');

-- name: own
-- What the database says this node carries, and what is wanted of it.
SELECT org_id, id, attempt, cancel_reason FROM runs WHERE node_id = $1 AND status IN ('created', 'started');

-- name: let_go
-- This node lost the right to write the run. If nobody else has taken it, anybody may.
UPDATE runs SET node_id = NULL WHERE org_id = $1 AND id = $2 AND node_id = $3 AND attempt = $4 AND status = 'started';

-- name: delete_run_rows
-- What runs leave in other tables, with rows and bytes.
WITH calls AS (
    DELETE FROM tool_calls WHERE org_id = $1 AND run_id = ANY ($2::uuid[])
    RETURNING octet_length(input::text) + coalesce(octet_length(result), 0) AS bytes
), requests AS (
    DELETE FROM input_requests WHERE org_id = $1 AND run_id = ANY ($2::uuid[])
    RETURNING octet_length(prompt) + octet_length(params::text) AS bytes
), bill AS (
    -- The amounts stay: they were spent. What and whom they were for goes.
    UPDATE model_calls SET run_id = NULL, conversation_id = NULL, user_id = NULL WHERE org_id = $1 AND run_id = ANY ($2::uuid[]) RETURNING 1
)
SELECT (SELECT count(*) FROM calls) AS calls, (SELECT coalesce(sum(bytes), 0) FROM calls)::bigint AS call_bytes,
       (SELECT count(*) FROM requests) AS requests, (SELECT coalesce(sum(bytes), 0) FROM requests)::bigint AS request_bytes,
       (SELECT count(*) FROM bill) AS bill;

-- name: close_requests
-- Questions of a run that ended: nobody need answer them.
UPDATE input_requests SET status = 'canceled' WHERE org_id = $1 AND run_id = $2 AND status = 'pending';

-- name: close_calls
-- Calls of a run that ended before their result was in.
UPDATE tool_calls SET status = 'unknown', settled_at = now() WHERE org_id = $1 AND run_id = $2 AND status = 'begun';

-- name: bill
-- Lines of the bill (migration 0021).
SELECT bill_run($1, $2, $3);

-- name: billed
-- What the bill of a run says so far; no cost where no call of it had a price.
SELECT coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens, coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens,
       coalesce(sum(cached_tokens), 0)::bigint AS cached_tokens, coalesce(sum(reasoning_tokens), 0)::bigint AS reasoning_tokens,
       coalesce(bool_or(estimated), false) AS estimated, sum(cost_usd) AS cost_usd
FROM model_calls WHERE org_id = $1 AND run_id = $2;
