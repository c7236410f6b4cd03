-- Each finds violations: $1 is an organization or NULL for all, $2 the earliest time or NULL, $3 (if there is one) the
-- latest time. A run's id begins with its time. 16, 17 and 18 are the terminal kinds.

-- name: gaps
-- Events that are not numbered 1, 2, 3 … up to the journal's head.
SELECT j.org_id, j.run_id AS subject,
       format('its head is at %s, but it holds %s events, from %s to %s', j.last_sequence, e.held, e.first,
              e.last) AS detail
FROM journals j CROSS JOIN LATERAL (
    SELECT count(*) AS held, coalesce(min(sequence), 0) AS first, coalesce(max(sequence), 0) AS last FROM events
    WHERE org_id = j.org_id AND run_id = j.run_id
) e
WHERE ($1::uuid IS NULL OR j.org_id = $1)
  AND ($2::timestamptz IS NULL
       OR j.run_id >= rpad(lpad(to_hex((extract(epoch FROM $2) * 1000)::bigint), 12, '0'), 32, '0')::uuid)
  AND ($3::timestamptz IS NULL
       OR j.run_id < rpad(lpad(to_hex((extract(epoch FROM $3) * 1000)::bigint), 12, '0'), 32, '0')::uuid)
  AND (e.held <> j.last_sequence OR e.last <> j.last_sequence OR (e.held > 0 AND e.first <> 1));

-- name: orphaned_events
-- Events without a journal.
SELECT e.org_id, e.run_id AS subject, format('%s events', count(*)) AS detail FROM events e
WHERE ($1::uuid IS NULL OR e.org_id = $1)
  AND ($2::timestamptz IS NULL
       OR e.run_id >= rpad(lpad(to_hex((extract(epoch FROM $2) * 1000)::bigint), 12, '0'), 32, '0')::uuid)
  AND ($3::timestamptz IS NULL
       OR e.run_id < rpad(lpad(to_hex((extract(epoch FROM $3) * 1000)::bigint), 12, '0'), 32, '0')::uuid)
  AND NOT EXISTS (SELECT 1 FROM journals j WHERE j.org_id = e.org_id AND j.run_id = e.run_id)
GROUP BY e.org_id, e.run_id;

-- name: terminals
-- Journals with more than one terminal event.
SELECT e.org_id, e.run_id AS subject, format('%s terminal events', count(*)) AS detail FROM events e
WHERE e.kind IN (16, 17, 18) AND ($1::uuid IS NULL OR e.org_id = $1)
  AND ($2::timestamptz IS NULL
       OR e.run_id >= rpad(lpad(to_hex((extract(epoch FROM $2) * 1000)::bigint), 12, '0'), 32, '0')::uuid)
  AND ($3::timestamptz IS NULL
       OR e.run_id < rpad(lpad(to_hex((extract(epoch FROM $3) * 1000)::bigint), 12, '0'), 32, '0')::uuid)
GROUP BY e.org_id, e.run_id HAVING count(*) > 1;

-- name: after_the_end
-- Events after a terminal one.
SELECT e.org_id, e.run_id AS subject,
       format('event %s ended it, and %s events follow', e.sequence, later.held) AS detail
FROM events e CROSS JOIN LATERAL (
    SELECT count(*) AS held FROM events l WHERE l.org_id = e.org_id AND l.run_id = e.run_id AND l.sequence > e.sequence
) later
WHERE e.kind IN (16, 17, 18) AND later.held > 0 AND ($1::uuid IS NULL OR e.org_id = $1)
  AND ($2::timestamptz IS NULL
       OR e.run_id >= rpad(lpad(to_hex((extract(epoch FROM $2) * 1000)::bigint), 12, '0'), 32, '0')::uuid)
  AND ($3::timestamptz IS NULL
       OR e.run_id < rpad(lpad(to_hex((extract(epoch FROM $3) * 1000)::bigint), 12, '0'), 32, '0')::uuid);

-- name: seals
-- Sealed without a terminal event at the end, or not sealed though there is one.
SELECT j.org_id, j.run_id AS subject,
       CASE WHEN j.sealed THEN 'sealed without a terminal event at its end'
            ELSE 'not sealed, though its last event is terminal' END AS detail
FROM journals j LEFT JOIN events e ON e.org_id = j.org_id AND e.run_id = j.run_id AND e.sequence = j.last_sequence
WHERE j.sealed IS DISTINCT FROM coalesce(e.kind IN (16, 17, 18), false) AND ($1::uuid IS NULL OR j.org_id = $1)
  AND ($2::timestamptz IS NULL
       OR j.run_id >= rpad(lpad(to_hex((extract(epoch FROM $2) * 1000)::bigint), 12, '0'), 32, '0')::uuid)
  AND ($3::timestamptz IS NULL
       OR j.run_id < rpad(lpad(to_hex((extract(epoch FROM $3) * 1000)::bigint), 12, '0'), 32, '0')::uuid);

-- name: sealed
-- Journals that have ended, the newest of each organization first.
SELECT org_id, run_id FROM journals
WHERE sealed AND ($1::uuid IS NULL OR org_id = $1)
  AND ($2::timestamptz IS NULL
       OR run_id >= rpad(lpad(to_hex((extract(epoch FROM $2) * 1000)::bigint), 12, '0'), 32, '0')::uuid)
  AND ($3::timestamptz IS NULL
       OR run_id < rpad(lpad(to_hex((extract(epoch FROM $3) * 1000)::bigint), 12, '0'), 32, '0')::uuid)
ORDER BY org_id DESC, run_id DESC;

-- name: payloads
-- The bytes of journals, one journal after the other and each in order.
SELECT j.org_id, j.run_id, e.kind, e.payload FROM unnest($1::uuid[], $2::uuid[]) AS j (org_id, run_id)
CROSS JOIN LATERAL (SELECT kind, payload FROM events WHERE org_id = j.org_id AND run_id = j.run_id ORDER BY sequence) e;

-- name: seal
-- Seals a journal whose last event is terminal: nothing may follow it.
UPDATE journals j SET sealed = true, epoch = epoch + 1 FROM events e
WHERE j.org_id = $1 AND j.run_id = $2 AND NOT j.sealed AND e.org_id = j.org_id AND e.run_id = j.run_id
  AND e.sequence = j.last_sequence
  AND e.kind IN (16, 17, 18)
RETURNING j.run_id;
