-- name: insert_memory
INSERT INTO memories (org_id, project_id, id, name, created_by) VALUES ($1, $2, $3, $4, $5);

-- name: memory
SELECT * FROM memories WHERE org_id = $1 AND id = $2;

-- name: share_memory
-- FOR KEY SHARE: the memory cannot be deleted until the transaction ends.
SELECT * FROM memories WHERE org_id = $1 AND id = $2 FOR KEY SHARE;

-- name: memory_of_project
-- For a run of that project. The memory cannot be deleted until the transaction ends.
SELECT id FROM memories WHERE org_id = $1 AND project_id = $2 AND id = $3 FOR KEY SHARE;

-- name: list_memories
-- {order} is made of checked column names.
SELECT * FROM memories WHERE org_id = $1 AND ($2::uuid IS NULL OR project_id = $2) ORDER BY {order} LIMIT $3 OFFSET $4;

-- name: count_memories
SELECT count(*) FROM memories WHERE org_id = $1 AND ($2::uuid IS NULL OR project_id = $2);

-- name: delete_memory
DELETE FROM memories WHERE org_id = $1 AND id = $2 RETURNING project_id;

-- name: lock_user
-- Serializes inserts of one user into one memory: their times must differ, and their number is limited.
SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text || '/' || $2, 81));

-- name: count_items_of_user
SELECT count(*) FROM memory_items WHERE org_id = $1 AND memory_id = $2 AND user_id = $3;

-- name: insert_items
-- Inserts in the order of $6, each at least one millisecond after the previous item of its scope. An item whose id
-- exists already is not changed.
INSERT INTO memory_items (org_id, project_id, id, memory_id, user_id, session_id, type, data, metadata, run_id,
    created_at, updated_at)
SELECT $1, $2, n.id, $3, $4, $5, 'message', n.data, n.metadata, $9, t.at, t.at
FROM unnest($6::uuid[], $7::jsonb[], $8::jsonb[]) WITH ORDINALITY AS n(id, data, metadata, place)
CROSS JOIN LATERAL (
    SELECT greatest(date_trunc('milliseconds', clock_timestamp()), (
        SELECT max(i.created_at) FROM memory_items i
        WHERE i.org_id = $1 AND i.memory_id = $3 AND i.user_id = $4 AND i.session_id IS NOT DISTINCT FROM $5
    ) + interval '1 millisecond') + (n.place - 1) * interval '1 millisecond' AS at
) t
ON CONFLICT (org_id, id) DO NOTHING;

-- name: item
SELECT * FROM memory_items WHERE org_id = $1 AND id = $2;

-- name: list_items
-- Items of a scope: $5 includes those of sessions (of session $4, or of all), $6 those without a session. {order} is
-- made of checked names.
SELECT * FROM memory_items
WHERE org_id = $1 AND memory_id = $2 AND user_id = $3
  AND CASE WHEN session_id IS NULL THEN $6::boolean ELSE $5::boolean AND ($4::text IS NULL OR session_id = $4) END
ORDER BY {order} LIMIT $7 OFFSET $8;

-- name: count_items
SELECT count(*) FROM memory_items
WHERE org_id = $1 AND memory_id = $2 AND user_id = $3
  AND CASE WHEN session_id IS NULL THEN $6::boolean ELSE $5::boolean AND ($4::text IS NULL OR session_id = $4) END;

-- name: delete_items
DELETE FROM memory_items
WHERE org_id = $1 AND memory_id = $2 AND user_id = $3
  AND CASE WHEN session_id IS NULL THEN $6::boolean ELSE $5::boolean AND ($4::text IS NULL OR session_id = $4) END
RETURNING id, octet_length(data::text) + coalesce(octet_length(metadata::text), 0) AS bytes;

-- name: delete_oldest_items
-- Deletes a user's oldest items above the limit $4.
DELETE FROM memory_items WHERE org_id = $1 AND id IN (
    SELECT id FROM memory_items WHERE org_id = $1 AND memory_id = $2 AND user_id = $3
    ORDER BY created_at DESC, id OFFSET $4);

-- name: empty_memory
-- Deletes all items before the memory is deleted, and the stored idempotency answers of the requests that created
-- them.
WITH gone AS (
    DELETE FROM memory_items WHERE org_id = $1 AND memory_id = $2
    RETURNING id, octet_length(data::text) + coalesce(octet_length(metadata::text), 0) AS bytes
), answers AS (
    DELETE FROM idempotency_keys WHERE org_id = $1 AND subject_id IN (SELECT id FROM gone) RETURNING 1)
SELECT count(*) AS rows, coalesce(sum(bytes), 0)::bigint AS bytes, (SELECT count(*) FROM answers) AS answers
FROM gone;

-- name: forget_runs
-- Deletes the items that runs of a conversation stored, and the results of their memory calls, before the runs are
-- deleted.
WITH theirs AS (
    SELECT id FROM runs WHERE org_id = $1 AND conversation_id = $2
), items AS (
    DELETE FROM memory_items WHERE org_id = $1 AND run_id IN (SELECT id FROM theirs)
    RETURNING octet_length(data::text) + coalesce(octet_length(metadata::text), 0) AS bytes
), effects AS (
    DELETE FROM tool_effects WHERE org_id = $1 AND run_id IN (SELECT id FROM theirs)
    RETURNING octet_length(result::text) AS bytes
)
SELECT (SELECT count(*) FROM items) AS items, (SELECT coalesce(sum(bytes), 0) FROM items)::bigint AS item_bytes,
       (SELECT count(*) FROM effects) AS effects,
       (SELECT coalesce(sum(bytes), 0) FROM effects)::bigint AS effect_bytes;

-- name: insert_store
INSERT INTO memory_stores (org_id, project_id, id, name, description, created_by) VALUES ($1, $2, $3, $4, $5, $6);

-- name: memory_store
SELECT * FROM memory_stores WHERE org_id = $1 AND id = $2;

-- name: share_store
-- The store cannot be deleted until the transaction ends.
SELECT * FROM memory_stores WHERE org_id = $1 AND id = $2 FOR KEY SHARE;

-- name: list_stores
-- {order} is made of checked column names.
SELECT * FROM memory_stores
WHERE org_id = $1 AND ($2::uuid IS NULL OR project_id = $2) ORDER BY {order} LIMIT $3 OFFSET $4;

-- name: count_stores
SELECT count(*) FROM memory_stores WHERE org_id = $1 AND ($2::uuid IS NULL OR project_id = $2);

-- name: update_store
UPDATE memory_stores SET name = $3, description = $4, updated_at = now() WHERE org_id = $1 AND id = $2 RETURNING *;

-- name: empty_store
-- Deletes all files before the store is deleted.
WITH gone AS (
    DELETE FROM memory_files WHERE org_id = $1 AND store_id = $2 RETURNING id, octet_length(content) AS bytes)
SELECT count(*) AS rows, coalesce(sum(bytes), 0)::bigint AS bytes FROM gone;

-- name: delete_store
DELETE FROM memory_stores WHERE org_id = $1 AND id = $2 RETURNING project_id;

-- name: list_memory_files
-- A user's files whose path begins with $4.
SELECT *, char_length(content) AS size FROM memory_files
WHERE org_id = $1 AND store_id = $2 AND user_id = $3 AND starts_with(path, $4) ORDER BY path;

-- name: memory_file
SELECT *, char_length(content) AS size FROM memory_files
WHERE org_id = $1 AND store_id = $2 AND user_id = $3 AND path = $4;

-- name: count_other_files
SELECT count(*) FROM memory_files WHERE org_id = $1 AND store_id = $2 AND user_id = $3 AND path <> $4;

-- name: write_memory_file
INSERT INTO memory_files (org_id, project_id, id, store_id, user_id, path, content) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (org_id, store_id, user_id, path) DO UPDATE SET content = excluded.content, updated_at = now()
RETURNING *, char_length(content) AS size;

-- name: delete_memory_file
DELETE FROM memory_files WHERE org_id = $1 AND store_id = $2 AND user_id = $3 AND path = $4
RETURNING id, project_id, octet_length(content) AS bytes;

-- name: forget_superseded
-- Deletes the items that earlier answers to this run's message stored.
DELETE FROM memory_items WHERE org_id = $1 AND run_id IN (
    SELECT o.id FROM runs r JOIN runs o ON o.org_id = r.org_id AND o.conversation_id = r.conversation_id
        AND o.message_id = r.message_id AND o.id <> r.id
    WHERE r.org_id = $1 AND r.id = $2);

-- name: known
SELECT 'memory' AS kind, id FROM memories WHERE org_id = $1 AND id = ANY ($2::uuid[])
UNION ALL
SELECT 'memory_store', id FROM memory_stores WHERE org_id = $1 AND id = ANY ($2::uuid[]);
