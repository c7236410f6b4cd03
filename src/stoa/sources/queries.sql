-- name: unended_syncs
-- Of all tenants.
SELECT 'pending', count(*) FROM knowledge_source_syncs
WHERE status = 'pending' AND status IN ('pending', 'running')
UNION ALL
SELECT 'running', count(*) FROM knowledge_source_syncs
WHERE status = 'running' AND status IN ('pending', 'running');

-- name: insert_source
INSERT INTO knowledge_sources (org_id, project_id, id, knowledgebase_id, name, provider, config, metadata, secrets,
    secret_names, schedule, timezone, next_sync_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: base_project
-- The project of a base; the row is locked against deletion until the transaction ends.
SELECT project_id FROM knowledgebases WHERE org_id = $1 AND id = $2 FOR SHARE;

-- name: has_base
SELECT EXISTS (SELECT 1 FROM knowledgebases WHERE org_id = $1 AND id = $2);

-- name: source
SELECT s.*, (SELECT count(*) FROM knowledge_items i WHERE i.org_id = s.org_id AND i.source_id = s.id) AS items
FROM knowledge_sources s WHERE s.org_id = $1 AND s.id = $2 AND s.deleting IS NULL;

-- name: lock_source
-- FOR NO KEY UPDATE does not block a sync that adds entries. Lock order: source, then sync.
SELECT revision, provider, config, metadata, secrets, secret_names, schedule, timezone FROM knowledge_sources
WHERE org_id = $1 AND id = $2 AND deleting IS NULL FOR NO KEY UPDATE;

-- name: list_sources
SELECT s.*, (SELECT count(*) FROM knowledge_items i WHERE i.org_id = s.org_id AND i.source_id = s.id) AS items
FROM knowledge_sources s
WHERE s.org_id = $1 AND s.knowledgebase_id = $2 AND s.deleting IS NULL
ORDER BY {order} LIMIT $3 OFFSET $4;

-- name: count_sources
SELECT count(*) FROM (
    SELECT FROM knowledge_sources
    WHERE org_id = $1 AND knowledgebase_id = $2 AND deleting IS NULL LIMIT 10001
) counted;

-- name: update_source
-- NULL secrets keep the old ones.
UPDATE knowledge_sources SET name = $3, config = $4, metadata = $5, secrets = coalesce($6, secrets),
    secret_names = CASE WHEN $6::bytea IS NULL THEN secret_names ELSE $7 END, schedule = $8, timezone = $9,
    next_sync_at = $10, revision = $11, updated_at = now()
WHERE org_id = $1 AND id = $2;

-- name: begin_deleting
-- After it only the deletion can see the source.
UPDATE knowledge_sources SET deleting = $3, next_sync_at = NULL, updated_at = now()
WHERE org_id = $1 AND id = $2 AND deleting IS NULL
RETURNING knowledgebase_id;

-- name: stop_syncs
UPDATE knowledge_source_syncs SET status = 'canceled', ended_at = now()
WHERE org_id = $1 AND source_id = $2 AND status IN ('pending', 'running');

-- name: lock_deleting
-- Waits for transactions that add an item of the source; none can begin after it.
SELECT deleting FROM knowledge_sources WHERE org_id = $1 AND id = $2 FOR UPDATE;

-- name: items_of_source
SELECT id FROM knowledge_items WHERE org_id = $1 AND source_id = $2;

-- name: delete_source
-- Its syncs and entries are deleted by cascade. Items that are kept lose their source, not their origin.
DELETE FROM knowledge_sources WHERE org_id = $1 AND id = $2;

-- name: deleting_sources
-- Deletions that their node did not finish, of all tenants.
SELECT org_id, project_id, id, knowledgebase_id, created_by FROM knowledge_sources
WHERE deleting IS NOT NULL AND updated_at < now() - interval '30 seconds' LIMIT 20;

-- name: source_ids
-- Of all tenants.
-- Which of the ids are still sources.
SELECT id FROM knowledge_sources WHERE id = ANY ($1::uuid[]);

-- name: insert_sync
-- No row: a sync is active.
INSERT INTO knowledge_source_syncs (org_id, project_id, id, source_id, trigger, confirm_deletions, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (org_id, source_id) WHERE status IN ('pending', 'running') DO NOTHING RETURNING *;

-- name: confirm_active
-- Returns the active sync; stores a confirmation that came while it ran.
UPDATE knowledge_source_syncs SET confirm_deletions = confirm_deletions OR $3
WHERE org_id = $1 AND source_id = $2 AND status IN ('pending', 'running')
RETURNING *;

-- name: cancel_sync
-- A pending sync ends at once; a running one is ended by its node.
UPDATE knowledge_source_syncs
SET cancel_requested = true, status = CASE status WHEN 'pending' THEN 'canceled' ELSE status END,
    ended_at = CASE status WHEN 'pending' THEN now() END
WHERE org_id = $1 AND source_id = $2 AND status IN ('pending', 'running') RETURNING *;

-- name: latest_syncs
SELECT y.* FROM unnest($2::uuid[]) AS s (id) CROSS JOIN LATERAL (
    SELECT * FROM knowledge_source_syncs WHERE org_id = $1 AND source_id = s.id
    ORDER BY created_at DESC, id DESC LIMIT 1
) y;

-- name: list_syncs
SELECT * FROM knowledge_source_syncs WHERE org_id = $1 AND source_id = $2 ORDER BY {order} LIMIT $3 OFFSET $4;

-- name: count_syncs
SELECT count(*) FROM (SELECT FROM knowledge_source_syncs WHERE org_id = $1 AND source_id = $2 LIMIT 10001) counted;

-- name: list_failures
-- Addresses that the last sync could not read.
SELECT origin, error FROM knowledge_source_entries
WHERE org_id = $1 AND source_id = $2 AND error IS NOT NULL
ORDER BY origin LIMIT $3 OFFSET $4;

-- name: count_failures
SELECT count(*) FROM (
    SELECT FROM knowledge_source_entries
    WHERE org_id = $1 AND source_id = $2 AND error IS NOT NULL LIMIT 10001
) counted;

-- name: due_sources
-- Sources that are due, of all tenants; each is locked by one node.
SELECT org_id, project_id, id, schedule, timezone FROM knowledge_sources WHERE next_sync_at <= $1 AND deleting IS NULL
ORDER BY next_sync_at LIMIT 20 FOR UPDATE SKIP LOCKED;

-- name: set_next_sync
UPDATE knowledge_sources SET next_sync_at = $3 WHERE org_id = $1 AND id = $2;

-- name: claim
-- Of all tenants. The parameters are those of `claimable` in `db/claiming.sql`; $8 is the length of the lease in
-- seconds.
UPDATE knowledge_source_syncs y
SET status = 'running', node_id = $1, attempt = y.attempt + 1, error = NULL, started_at = coalesce(y.started_at, now()),
    deadline = now() + $8::float8 * interval '1 second'
FROM ({claimable}) taken WHERE y.org_id = taken.org_id AND y.id = taken.id RETURNING y.*;

-- name: source_of_worker
SELECT s.*, 0 AS items FROM knowledge_sources s WHERE s.org_id = $1 AND s.id = $2 AND s.deleting IS NULL;

-- name: remember
-- What is stored about addresses, in their order, with the items that were made of them.
SELECT o.origin, e.state, e.sha256, e.revision, e.seen_by, e.error IS NOT NULL AS failed, i.id AS item_id,
       i.sha256 AS item_sha256, i.metadata AS item_metadata
FROM unnest($3::text[]) WITH ORDINALITY o(origin, position)
LEFT JOIN knowledge_source_entries e ON e.org_id = $1 AND e.source_id = $2 AND e.origin = o.origin
LEFT JOIN knowledge_items i ON i.org_id = $1 AND i.source_id = $2 AND i.origin = o.origin
ORDER BY o.position;

-- name: settle
-- Stores visited addresses and adds to the counts, in one fenced statement. Revision 0 keeps the stored revision of an
-- address. An address that this sync has settled before (it failed, and is tried again) counts once. No row: this node
-- no longer owns the sync.
WITH before AS (
    SELECT count(*) AS seen, count(e.error) AS failed FROM knowledge_source_syncs y
    JOIN knowledge_source_entries e ON e.org_id = y.org_id AND e.source_id = y.source_id AND e.seen_by = y.id
      AND e.origin = ANY ($12)
    WHERE y.org_id = $1 AND y.id = $2
), held AS (
    SELECT s.id FROM knowledge_sources s JOIN knowledge_source_syncs y ON y.org_id = s.org_id AND y.source_id = s.id
    WHERE y.org_id = $1 AND y.id = $2 FOR KEY SHARE OF s
), sync AS (
    UPDATE knowledge_source_syncs
    SET found = found + $5 - (SELECT seen FROM before), added = added + $6, updated = updated + $7,
        unchanged = unchanged + $8, skipped = skipped + $9, failed = failed + $10 - (SELECT failed FROM before),
        deadline = now() + $11::float8 * interval '1 second'
    WHERE org_id = $1 AND id = $2 AND attempt = $3 AND node_id = $4 AND status = 'running'
      AND source_id = (SELECT id FROM held)
    RETURNING org_id, project_id, source_id, id, cancel_requested
), settled AS (
    INSERT INTO knowledge_source_entries AS e
        (org_id, project_id, source_id, origin, state, sha256, revision, seen_by, error)
    SELECT s.org_id, s.project_id, s.source_id, n.origin, n.state, n.sha256, n.revision, s.id, n.error
    FROM sync s, unnest($12::text[], $13::jsonb[], $14::bytea[], $15::int[], $16::jsonb[])
        AS n(origin, state, sha256, revision, error)
    ON CONFLICT (org_id, source_id, origin) DO UPDATE SET
        state = CASE excluded.revision WHEN 0 THEN e.state ELSE excluded.state END,
        sha256 = CASE excluded.revision WHEN 0 THEN e.sha256 ELSE excluded.sha256 END,
        revision = CASE excluded.revision WHEN 0 THEN e.revision ELSE excluded.revision END,
        seen_by = excluded.seen_by, error = excluded.error
)
SELECT cancel_requested FROM sync;

-- name: beat
-- Renews the lease. No row: this node no longer owns the sync.
UPDATE knowledge_source_syncs SET deadline = now() + $5::float8 * interval '1 second', deleted = deleted + $6
WHERE org_id = $1 AND id = $2 AND attempt = $3 AND node_id = $4 AND status = 'running'
RETURNING cancel_requested, confirm_deletions, found;

-- name: gone
-- Items whose address no longer has a document; with $4 (the origin was listed completely) also those whose address was
-- not listed.
SELECT i.id, e.seen_by = $3 AS named FROM knowledge_items i
LEFT JOIN knowledge_source_entries e ON e.org_id = i.org_id AND e.source_id = i.source_id AND e.origin = i.origin
WHERE i.org_id = $1 AND i.source_id = $2
  AND ((e.seen_by = $3 AND e.sha256 IS NULL AND e.error IS NULL) OR ($4 AND (e.origin IS NULL OR e.seen_by <> $3)));

-- name: count_items_of_source
SELECT count(*) FROM knowledge_items WHERE org_id = $1 AND source_id = $2;

-- name: forget_entries
-- Removes the entries that a complete listing did not contain; those that had an item count as deleted. No row: this
-- node no longer owns the sync.
WITH sync AS (
    SELECT org_id, id, source_id FROM knowledge_source_syncs
    WHERE org_id = $1 AND id = $2 AND attempt = $3 AND node_id = $4 AND status = 'running' FOR UPDATE
), gone AS (
    DELETE FROM knowledge_source_entries e USING sync s
    WHERE e.org_id = s.org_id AND e.source_id = s.source_id AND e.seen_by <> s.id
    RETURNING e.sha256
)
UPDATE knowledge_source_syncs y SET deleted = y.deleted + (SELECT count(sha256) FROM gone)
FROM sync s WHERE y.org_id = s.org_id AND y.id = s.id RETURNING y.id;

-- name: finish
UPDATE knowledge_source_syncs
SET status = $5, error = $6, warnings = $7, node_id = NULL, deadline = NULL, ended_at = now()
WHERE org_id = $1 AND id = $2 AND attempt = $3 AND node_id = $4 AND status = 'running' RETURNING id;

-- name: postpone
-- Back to the queue after a transient failure.
UPDATE knowledge_source_syncs
SET status = 'pending', error = $6, node_id = NULL, deadline = NULL,
    not_before = now() + $5::float8 * interval '1 second'
WHERE org_id = $1 AND id = $2 AND attempt = $3 AND node_id = $4 AND status = 'running' RETURNING id;

-- name: give_back
-- Of all tenants.
-- Called when this node stops: releases its syncs, and this attempt does not count.
UPDATE knowledge_source_syncs
SET status = 'pending', node_id = NULL, deadline = NULL, not_before = now(), attempt = greatest(attempt - 1, 0)
WHERE node_id = $1 AND status = 'running';

-- name: prune_syncs
-- Deletes old outcomes of a source, beyond the newest $3.
DELETE FROM knowledge_source_syncs WHERE org_id = $1 AND source_id = $2 AND id IN (
    SELECT id FROM knowledge_source_syncs
    WHERE org_id = $1 AND source_id = $2
    ORDER BY created_at DESC, id DESC OFFSET $3);
