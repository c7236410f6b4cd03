-- name: refusal
-- Why no message can be stored, or NULL: the session is read-only, or a right is missing.
SELECT CASE
    WHEN current_setting('transaction_read_only') = 'on' THEN
        'The database is read-only: its default_transaction_read_only is on, or it is a standby.'
    WHEN missing IS NOT NULL THEN
        'Rights are missing in the database; its owner gives them back with: ' || missing || '.'
END
FROM (
    SELECT string_agg(format('GRANT %s ON %I TO %I', wanted, name, who), '; ') AS missing
    FROM unnest(ARRAY['conversations', 'messages', 'runs', 'journals', 'events', 'model_calls']) AS name
    CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS wanted
    CROSS JOIN unnest(ARRAY['stoa_tenant', session_user]) AS who
    WHERE NOT has_table_privilege(who, name, wanted)
) rights;

-- name: lock_tables_of_a_message
-- The lock that every message takes: it waits while another session keeps writers out.
LOCK TABLE conversations, messages, runs, journals, events, model_calls IN ROW EXCLUSIVE MODE;

-- name: holders
-- The session that keeps writers out of these tables.
SELECT pid, relation::regclass::text AS name FROM pg_locks
WHERE granted AND relation = ANY (
        ARRAY['conversations', 'messages', 'runs', 'journals', 'events', 'model_calls']::regclass[])
  AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') AND pid IS NOT NULL
LIMIT 1;

-- name: take_room
-- Reading still works on a full disk, so this creates a temporary table, which needs new blocks as a message does.
CREATE TEMPORARY TABLE room ON COMMIT DROP AS SELECT repeat(md5(n::text), 8) FROM generate_series(1, 4000) AS n;
