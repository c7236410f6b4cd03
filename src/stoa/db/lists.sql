-- name: page_of_list
-- The ids of a page, and how many items the list has (migration 0100).
SELECT ids, total, estimated FROM page_of_list($1);

-- name: take_progress
-- Everything before this moment is in list_counts; locked against other nodes, and against deletions of what is older,
-- until the transaction ends. No row while another node or a deletion has it.
SELECT until FROM list_progress FOR UPDATE SKIP LOCKED;

-- name: settled_until
-- A moment before which nothing can be added any more: an item has the time of its transaction, and all transactions of
-- that time have ended.
SELECT least(now() - interval '30 seconds', min(xact_start)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid();

-- name: first_item
-- Of all tenants.
-- When the oldest item was made; asked once, before the first count.
SELECT least((SELECT min(created_at) FROM conversations), (SELECT min(created_at) FROM runs));

-- name: count_items
-- Of all tenants.
-- Adds the items between two moments, and what has changed among older ones, to the counts of their hours and days.
WITH changed AS (
    DELETE FROM list_changes RETURNING org_id, project_id, list, starts_at, items
), hours AS (
    SELECT * FROM changed
    UNION ALL
    SELECT org_id, project_id, 'conversations', date_trunc('hour', created_at, 'UTC'), 1
    FROM conversations WHERE created_at >= $1 AND created_at < $2 AND owner_id IS NULL
    UNION ALL
    SELECT org_id, project_id, 'runs', date_trunc('hour', created_at, 'UTC'), 1
    FROM runs WHERE created_at >= $1 AND created_at < $2 AND owner_id IS NULL
)
INSERT INTO list_counts AS c (org_id, project_id, list, width, starts_at, items)
SELECT org_id, project, list, width, date_trunc(width, starts_at, 'UTC'), sum(items)
FROM hours CROSS JOIN LATERAL unnest(ARRAY[project_id, NULL]) AS project
CROSS JOIN unnest(ARRAY['hour', 'day']) AS width
GROUP BY 1, 2, 3, 4, 5 HAVING sum(items) <> 0
ORDER BY 1, 3, 4, 2, 5
ON CONFLICT (org_id, list, width, project_id, starts_at) DO UPDATE SET items = c.items + excluded.items;

-- name: set_progress
UPDATE list_progress SET until = $1;

-- name: forget_hours
-- Of all tenants.
-- The hours of a day of at most $2 items: so many are passed over quickly. A day's hours that do not sum up to it are
-- not used.
DELETE FROM list_counts h USING list_counts d
WHERE d.width = 'day' AND d.starts_at = $1 AND d.items <= $2 AND h.width = 'hour' AND h.starts_at >= $1
  AND h.starts_at < $1 + interval '1 day' AND h.org_id = d.org_id AND h.list = d.list
  AND h.project_id IS NOT DISTINCT FROM d.project_id;
