-- Each finds violations: $1 is an organization or NULL for all, $2 the earliest time or NULL, $3 (if there is one) the
-- latest time.

-- name: abandoned
-- Runs that have begun and belong to no living node; new ones that no node has claimed for minutes.
SELECT r.org_id, r.id AS subject, r.attempt,
       CASE WHEN r.node_id IS NULL
            THEN format('%s since %s, and no node carries it', r.status, r.created_at::timestamptz(0))
            ELSE format('%s, attempt %s, and its node %s is dead', r.status, r.attempt, r.node_id) END AS detail
FROM runs r
WHERE r.status IN ('created', 'started') AND r.queued_at IS NULL AND ($1::uuid IS NULL OR r.org_id = $1)
  AND ($2::timestamptz IS NULL OR r.created_at >= $2)
  AND CASE WHEN r.node_id IS NULL THEN r.status = 'started' OR r.created_at < now() - interval '5 minutes'
           ELSE NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = r.node_id AND n.expires_at > now()) END;

-- name: ends
-- Runs whose state is not what the end of their journal says.
SELECT r.org_id, r.id AS subject,
       format('the run is %s, its journal %s', r.status, coalesce('says ' || e.end, 'has no end')) AS detail
FROM runs r JOIN journals j ON j.org_id = r.org_id AND j.run_id = r.id
LEFT JOIN LATERAL (
    SELECT CASE kind WHEN 16 THEN 'completed' WHEN 17 THEN 'failed' WHEN 18 THEN 'canceled' END AS end FROM events
    WHERE org_id = j.org_id AND run_id = j.run_id AND sequence = j.last_sequence
) e ON true
WHERE ($1::uuid IS NULL OR r.org_id = $1) AND ($2::timestamptz IS NULL OR r.created_at >= $2)
  AND ($3::timestamptz IS NULL OR r.created_at < $3)
  AND e.end IS DISTINCT FROM CASE WHEN r.status IN ('completed', 'failed', 'canceled') THEN r.status END;

-- name: journals
-- Runs without a journal, and journals without a run. A run's id begins with its time.
SELECT r.org_id, r.id AS subject, 'a run without a journal' AS detail FROM runs r
WHERE ($1::uuid IS NULL OR r.org_id = $1) AND ($2::timestamptz IS NULL OR r.created_at >= $2)
  AND ($3::timestamptz IS NULL OR r.created_at < $3)
  AND NOT EXISTS (SELECT 1 FROM journals j WHERE j.org_id = r.org_id AND j.run_id = r.id)
UNION ALL
SELECT j.org_id, j.run_id, 'a journal without a run' FROM journals j
WHERE ($1::uuid IS NULL OR j.org_id = $1)
  AND ($2::timestamptz IS NULL
       OR j.run_id >= rpad(lpad(to_hex((extract(epoch FROM $2) * 1000)::bigint), 12, '0'), 32, '0')::uuid)
  AND ($3::timestamptz IS NULL
       OR j.run_id < rpad(lpad(to_hex((extract(epoch FROM $3) * 1000)::bigint), 12, '0'), 32, '0')::uuid)
  AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.org_id = j.org_id AND r.id = j.run_id);

-- name: starts
-- Runs whose first event is not run.started, or that have run.started twice.
SELECT r.org_id, r.id AS subject, format('run.started stands at %s', e.places) AS detail
FROM runs r JOIN journals j ON j.org_id = r.org_id AND j.run_id = r.id AND j.last_sequence > 0
CROSS JOIN LATERAL (SELECT array_agg(sequence ORDER BY sequence) AS places
                    FROM events
                    WHERE org_id = r.org_id AND run_id = r.id AND kind = 1) e
WHERE e.places IS DISTINCT FROM ARRAY[1] AND ($1::uuid IS NULL OR r.org_id = $1)
  AND ($2::timestamptz IS NULL OR r.created_at >= $2)
  AND ($3::timestamptz IS NULL OR r.created_at < $3);

-- name: several_active
-- Conversations with more than one active run.
SELECT org_id, conversation_id AS subject, format('%s active runs', count(*)) AS detail FROM runs
WHERE status IN ('created', 'started', 'paused') AND queued_at IS NULL AND ($1::uuid IS NULL OR org_id = $1)
GROUP BY org_id, conversation_id HAVING count(*) > 1 AND ($2::timestamptz IS NULL OR max(created_at) >= $2);

-- name: stuck_queue
-- Queued runs that are never promoted: no run precedes them, or they have ended.
SELECT q.org_id, q.id AS subject,
       CASE WHEN q.status = 'created' THEN 'it waits for its turn, and no run is before it'
            ELSE format('it is %s and still in the queue', q.status) END AS detail
FROM runs q
WHERE q.queued_at IS NOT NULL AND ($1::uuid IS NULL OR q.org_id = $1)
  AND ($2::timestamptz IS NULL OR q.created_at >= $2)
  AND (q.status <> 'created' OR NOT EXISTS (
      SELECT 1 FROM runs a WHERE a.org_id = q.org_id AND a.conversation_id = q.conversation_id AND a.queued_at IS NULL
        AND a.status IN ('created', 'started', 'paused')));

-- name: paused_without_question
-- Paused runs without an open question. (A question that expires while its run is being paused is handled within
-- seconds.)
SELECT r.org_id, r.id AS subject, 'paused, and no question is open' AS detail FROM runs r
WHERE r.status = 'paused' AND ($1::uuid IS NULL OR r.org_id = $1) AND ($2::timestamptz IS NULL OR r.created_at >= $2)
  AND NOT EXISTS (SELECT 1 FROM input_requests i WHERE i.org_id = r.org_id AND i.run_id = r.id
                  AND (i.status = 'pending'
                       OR greatest(i.expires_at, i.answered_at) BETWEEN now() - interval '15 seconds' AND now()));

-- name: questions_of_ended_runs
-- Open questions of runs that have ended or are gone.
SELECT i.org_id, i.id AS subject, format('its run %s is %s', i.run_id, coalesce(r.status, 'gone')) AS detail
FROM input_requests i LEFT JOIN runs r ON r.org_id = i.org_id AND r.id = i.run_id
WHERE i.status = 'pending' AND coalesce(r.status, 'gone') NOT IN ('created', 'started', 'paused')
  AND ($1::uuid IS NULL OR i.org_id = $1) AND ($2::timestamptz IS NULL OR i.created_at >= $2);

-- name: missing_answers
-- Runs without the message they answer, and ended runs without exactly one answer, except runs that were removed from
-- the queue.
SELECT r.org_id, r.id AS subject,
       CASE WHEN m.id IS NULL THEN 'its message is gone'
            ELSE format('%s, with %s answers', r.status, a.answers) END AS detail
FROM runs r
LEFT JOIN messages m ON m.org_id = r.org_id AND m.id = r.message_id
CROSS JOIN LATERAL (
    SELECT count(*) AS answers FROM messages
    WHERE org_id = r.org_id AND conversation_id = r.conversation_id AND run_id = r.id AND role = 'assistant'
      AND position > r.message_position
) a
WHERE r.queued_at IS NULL AND r.message_position > 0 AND ($1::uuid IS NULL OR r.org_id = $1)
  AND ($2::timestamptz IS NULL OR r.created_at >= $2)
  AND ($3::timestamptz IS NULL OR r.created_at < $3)
  AND (m.id IS NULL OR a.answers <> CASE WHEN r.status IN ('completed', 'failed', 'canceled') THEN 1 ELSE 0 END);

-- name: calls_and_events
-- Differences between the tool ledger and the events: settled calls without their event, events of completed calls
-- without their line, and lines left open by runs that have ended. A call has the same id in its event and in the
-- ledger.
SELECT t.org_id, t.run_id AS subject,
       format('call %s of %s is %s in the ledger; %s', t.id, t.name, t.status,
              CASE t.status WHEN 'begun' THEN 'its run has ended' ELSE 'no event tells of it' END) AS detail
FROM tool_calls t LEFT JOIN runs r ON r.org_id = t.org_id AND r.id = t.run_id
WHERE ($1::uuid IS NULL OR t.org_id = $1) AND ($2::timestamptz IS NULL OR t.begun_at >= $2)
  AND ($3::timestamptz IS NULL OR t.begun_at < $3) AND CASE t.status
    WHEN 'begun' THEN coalesce(r.status, 'gone') NOT IN ('created', 'started', 'paused')
    WHEN 'unknown' THEN false
    ELSE NOT EXISTS (SELECT 1 FROM events e WHERE e.org_id = t.org_id AND e.run_id = t.run_id
                     AND e.kind = CASE t.status WHEN 'completed' THEN 6 ELSE 7 END
                     AND position(convert_to('"id":"' || t.id || '"', 'UTF8') IN e.payload) > 0) END
UNION ALL
SELECT e.org_id, e.run_id, format('event %s tells of a completed call that is not in the ledger', e.sequence)
FROM events e
WHERE e.kind = 6 AND ($1::uuid IS NULL OR e.org_id = $1)
  AND ($2::timestamptz IS NULL
       OR e.run_id >= rpad(lpad(to_hex((extract(epoch FROM $2) * 1000)::bigint), 12, '0'), 32, '0')::uuid)
  AND ($3::timestamptz IS NULL
       OR e.run_id < rpad(lpad(to_hex((extract(epoch FROM $3) * 1000)::bigint), 12, '0'), 32, '0')::uuid)
  AND EXISTS (SELECT 1 FROM runs r WHERE r.org_id = e.org_id AND r.id = e.run_id)
  AND NOT EXISTS (SELECT 1 FROM tool_calls t
                  WHERE t.org_id = e.org_id AND t.run_id = e.run_id AND t.status = 'completed'
                  AND position(convert_to('"id":"' || t.id || '"', 'UTF8') IN e.payload) > 0);

-- name: wrong_bills
-- Ended runs whose usage is not the sum of their model calls.
SELECT r.org_id, r.id AS subject,
       format('the run used %s + %s tokens, its bill says %s + %s', r.usage ->> 'prompt_tokens',
              r.usage ->> 'completion_tokens', b.prompt, b.completion) AS detail
FROM runs r CROSS JOIN LATERAL (
    SELECT coalesce(sum(prompt_tokens), 0) AS prompt, coalesce(sum(completion_tokens), 0) AS completion,
           coalesce(sum(cost_usd), 0) AS cost
    FROM model_calls WHERE org_id = r.org_id AND run_id = r.id
) b
WHERE r.usage IS NOT NULL AND ($1::uuid IS NULL OR r.org_id = $1) AND ($2::timestamptz IS NULL OR r.created_at >= $2)
  AND ($3::timestamptz IS NULL OR r.created_at < $3)
  AND ((r.usage ->> 'prompt_tokens')::bigint <> b.prompt OR (r.usage ->> 'completion_tokens')::bigint <> b.completion
       OR abs(coalesce((r.usage ->> 'cost_usd')::numeric, 0) - b.cost) > 0.000001);

-- name: idempotency_keys
-- Idempotency keys without a run, or whose run does not exist.
SELECT k.org_id, k.key AS subject,
       format('%s %s', k.route,
              CASE WHEN k.answer IS NULL THEN 'has no answer' ELSE 'names a run that is gone' END) AS detail
FROM idempotency_keys k
WHERE (k.route LIKE 'messages/%' OR k.route LIKE 'regenerate/%') AND ($1::uuid IS NULL OR k.org_id = $1)
  AND ($2::timestamptz IS NULL OR k.created_at >= $2)
  AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.org_id = k.org_id AND r.id = k.subject_id);

-- name: release
-- Releases a run of a dead node, so that any other node can claim it.
UPDATE runs r SET node_id = NULL
WHERE r.org_id = $1 AND r.id = $2 AND r.status = 'started' AND r.queued_at IS NULL AND r.node_id IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = r.node_id AND n.expires_at > now())
RETURNING r.id;

-- name: end_of
-- The terminal event of a run whose state does not show its end.
SELECT e.payload, m.text FROM runs r
JOIN journals j ON j.org_id = r.org_id AND j.run_id = r.id AND j.sealed
JOIN events e ON e.org_id = j.org_id AND e.run_id = j.run_id AND e.sequence = j.last_sequence AND e.kind IN (16, 17, 18)
LEFT JOIN messages m ON m.org_id = r.org_id AND m.conversation_id = r.conversation_id AND m.run_id = r.id
  AND m.role = 'assistant'
WHERE r.org_id = $1 AND r.id = $2 AND r.status IN ('created', 'started', 'paused') FOR UPDATE OF r;

-- name: leave_queue
-- Removes an ended run from the queue.
UPDATE runs SET queued_at = NULL
WHERE org_id = $1 AND id = $2 AND queued_at IS NOT NULL AND status IN ('completed', 'failed', 'canceled')
RETURNING id;

-- name: withdraw
-- Cancels a question of a run that has ended.
UPDATE input_requests i SET status = 'canceled' WHERE i.org_id = $1 AND i.id = $2 AND i.status = 'pending'
  AND NOT EXISTS (SELECT 1 FROM runs r
                  WHERE r.org_id = i.org_id AND r.id = i.run_id AND r.status IN ('created', 'started', 'paused'))
RETURNING i.id;

-- name: close_left_open
-- Marks open calls of a run that has ended as unknown.
UPDATE tool_calls t SET status = 'unknown', settled_at = now()
WHERE t.org_id = $1 AND t.run_id = $2 AND t.status = 'begun'
  AND NOT EXISTS (SELECT 1 FROM runs r
                  WHERE r.org_id = t.org_id AND r.id = t.run_id AND r.status IN ('created', 'started', 'paused'))
RETURNING t.id;

-- name: resume_without_question
-- A paused run without an open question continues.
UPDATE runs r SET status = 'started', node_id = NULL WHERE r.org_id = $1 AND r.id = $2 AND r.status = 'paused'
  AND NOT EXISTS (SELECT 1 FROM input_requests i WHERE i.org_id = r.org_id AND i.run_id = r.id AND i.status = 'pending')
RETURNING r.id;

-- name: forget
-- Deletes an idempotency key without its object.
DELETE FROM idempotency_keys k
WHERE k.org_id = $1 AND k.key = $2 AND (k.route LIKE 'messages/%' OR k.route LIKE 'regenerate/%')
  AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.org_id = k.org_id AND r.id = k.subject_id)
RETURNING k.key;

-- name: end_as_journal_says
-- Sets a run's state according to its terminal event.
UPDATE runs
SET status = $3, output = $4, error = $5, usage = $6, checkpoint = NULL, node_id = NULL, queued_at = NULL,
    ended_at = now()
WHERE org_id = $1 AND id = $2 AND status IN ('created', 'started', 'paused');

-- name: timeline
-- The time of the first run, and the days (UTC) with runs or calls that have not ended, whose rows may still change.
SELECT (SELECT min(oldest.created_at) FROM orgs o
        CROSS JOIN LATERAL (SELECT created_at FROM runs
                            WHERE org_id = o.id
                            ORDER BY created_at LIMIT 1) oldest) AS first,
       ARRAY(SELECT date_trunc('day', created_at, 'UTC') FROM runs WHERE status IN ('created', 'started')
             UNION SELECT date_trunc('day', created_at, 'UTC') FROM runs WHERE status = 'paused'
             UNION SELECT date_trunc('day', begun_at, 'UTC') FROM tool_calls WHERE status = 'begun') AS open_days;
