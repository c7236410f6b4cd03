-- name: head
-- A journal's epoch, last sequence and seal.
SELECT epoch, last_sequence, sealed FROM journals WHERE org_id = $1 AND run_id = $2;

-- name: head_in_doubt
-- The same with a row lock: so the transaction writes WAL, and its commit waits for the synchronous standby.
SELECT epoch, last_sequence, sealed FROM journals WHERE org_id = $1 AND run_id = $2 FOR NO KEY UPDATE;

-- name: fence
-- Raises the epoch, which fences off the present writer. Waits for a tick in progress.
UPDATE journals SET epoch = epoch + 1 WHERE org_id = $1 AND run_id = $2 AND NOT sealed
RETURNING epoch, last_sequence, sealed;

-- name: append
-- One tick: takes the sequences, checks every writer's epoch and every seal, and stores the events, as one statement.
-- Other nodes are notified after its commit. It answers with one row: the places in the lists of the runs whose epoch
-- is over, NULL for none. Their events are not stored.
WITH writers AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::int[], $5::int[], $6::boolean[]) WITH ORDINALITY
        AS w (org_id, run_id, epoch, base, count, seal, number)
), taken AS (
    UPDATE journals j SET last_sequence = j.last_sequence + w.count, sealed = w.seal
    FROM writers w
    WHERE j.org_id = w.org_id AND j.run_id = w.run_id AND j.epoch = w.epoch AND j.last_sequence = w.base
      AND NOT j.sealed
    RETURNING j.org_id, j.project_id, j.run_id, w.number
), stored AS (
    INSERT INTO events (org_id, project_id, run_id, sequence, kind, payload)
    SELECT t.org_id, t.project_id, t.run_id, e.sequence, e.kind, e.payload
    FROM unnest($7::bigint[], $8::int[], $9::smallint[], $10::bytea[]) AS e (number, sequence, kind, payload)
    JOIN taken t ON t.number = e.number
)
SELECT array_agg(number) AS refused FROM writers WHERE number NOT IN (SELECT number FROM taken);

-- name: append_to
-- The same for one run, in the transaction of what its events belong to (migration 0151).
SELECT append_events_v2(
    p_org => $1, p_run => $2, p_epoch => $3, p_base => $4, p_seal => $5, p_sequences => $6, p_kinds => $7,
    p_payloads => $8);

-- name: read
-- Events after a sequence, in order: at most so many events and bytes, but at least one.
SELECT sequence, kind, payload FROM (
    SELECT *, sum(octet_length(payload)) OVER (ORDER BY sequence) - octet_length(payload) AS bytes_before FROM (
        SELECT sequence, kind, payload FROM events
        WHERE org_id = $1 AND run_id = $2 AND sequence > $3
        ORDER BY sequence LIMIT $4) page
) sized WHERE bytes_before < $5 ORDER BY sequence;

-- name: read_type
-- Events of one type from a sequence on: the text of a recovered run so far.
SELECT sequence, kind, payload FROM events
WHERE org_id = $1 AND run_id = $2 AND sequence > $3 AND kind = $4 ORDER BY sequence;

-- name: delete
-- Removes journals with their events; returns rows and bytes.
WITH gone_events AS (
    DELETE FROM events WHERE org_id = $1 AND run_id = ANY ($2::uuid[]) RETURNING octet_length(payload) AS bytes
), gone_journals AS (
    DELETE FROM journals WHERE org_id = $1 AND run_id = ANY ($2::uuid[]) RETURNING 1
)
SELECT (SELECT count(*) FROM gone_events) AS events,
       (SELECT coalesce(sum(bytes), 0) FROM gone_events)::bigint AS event_bytes,
       (SELECT count(*) FROM gone_journals) AS journals;
