-- name: sizes
-- Rows as the planner counts them.
SELECT relname AS name, pg_table_size(oid) AS bytes, greatest(reltuples, 0)::bigint AS rows FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p');

-- name: oldest_transaction
SELECT format('process %s (%s), since %s: %s', pid, coalesce(nullif(application_name, ''), usename),
              to_char(xact_start, 'HH24:MI:SS'), left(query, 80))
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start < now() - interval '10 seconds'
ORDER BY xact_start LIMIT 1;
