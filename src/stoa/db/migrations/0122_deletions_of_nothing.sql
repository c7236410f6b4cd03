-- As in 0100; a deletion that has found nothing waits for nobody.
CREATE OR REPLACE FUNCTION follow_deleted_items() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    counted_until timestamptz;
BEGIN
    IF NOT EXISTS (SELECT FROM gone WHERE owner_id IS NULL) THEN
        RETURN NULL;
    END IF;
    SELECT until INTO counted_until FROM list_progress FOR SHARE;
    INSERT INTO list_changes (org_id, project_id, list, starts_at, items)
    SELECT org_id, project_id, TG_TABLE_NAME, date_trunc('hour', created_at, 'UTC'), -count(*)
    FROM gone WHERE owner_id IS NULL AND created_at < counted_until GROUP BY 1, 2, 3, 4;
    RETURN NULL;
END $$;
