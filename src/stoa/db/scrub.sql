-- name: tables
-- Every table of ours, the smallest first, with its size; partitions are rewritten one by one.
SELECT c.oid::regclass::text AS name, pg_total_relation_size(c.oid) AS bytes FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'm') ORDER BY 2, 1;

-- name: older
-- Whatever may still see rows that were deleted before the transaction $1.
SELECT * FROM (
    SELECT 'A transaction of process ' || pid AS what, xact_start::text AS since, least(backend_xmin::text::bigint,
        backend_xid::text::bigint) AS xmin
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    UNION ALL SELECT 'The prepared transaction ' || gid, prepared::text, transaction::text::bigint
        FROM pg_prepared_xacts WHERE database = current_database()
    UNION ALL SELECT 'The replication slot ' || slot_name, '', coalesce(xmin, catalog_xmin)::text::bigint
        FROM pg_replication_slots
) holders WHERE xmin < $1::bigint % 4294967296 ORDER BY xmin LIMIT 1;

-- name: ids_of_deletions
-- What the deletions took that no scrub has followed yet, by organization. A memory outlives the deletion of its items.
SELECT org_id, array_agg(DISTINCT gone.subject) AS ids FROM deletions
CROSS JOIN LATERAL unnest(
    CASE kind WHEN 'memory_items' THEN file_ids ELSE subject_id || run_ids || file_ids END) AS gone (subject)
WHERE verified_at <= $1 AND scrubbed_at IS NULL GROUP BY org_id;

-- name: forget_statistics
DELETE FROM pg_statistic s USING pg_class c WHERE c.oid = s.starelid AND c.relnamespace = 'public'::regnamespace;

-- name: log_segments
-- The files of the write-ahead log: written, being written, and kept to be written over.
SELECT coalesce(array_agg(name), '{}') FROM pg_ls_waldir();

-- name: log_is_kept
SELECT current_setting('archive_mode') <> 'off' OR current_setting('wal_keep_size') <> '0' OR EXISTS (SELECT 1
    FROM pg_replication_slots);

-- name: stamp
-- The receipts of what was deleted before the scrub began.
WITH stamped AS (UPDATE deletions SET scrubbed_at = now() WHERE verified_at <= $1 AND scrubbed_at IS NULL
    RETURNING 1) SELECT count(*) FROM stamped;
