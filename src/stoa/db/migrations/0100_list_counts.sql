-- Long lists (docs/decisions/0100): how many items of a list each hour and day holds, so that a page far into it is found
-- without passing over what is before it; and words that know their day, so that words which many messages hold are looked
-- up among the newest. The indexes follow in 0101, which takes no lock, and what uses them in 0102.

-- counts ------------------------------------------------------------------------------------------------------------

-- Everything before `until` is in list_counts.
CREATE TABLE list_progress (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    until  timestamptz NOT NULL
);
INSERT INTO list_progress (until) VALUES ('1970-01-01T00:00:00Z');

-- What belongs to no user, by hour and by day (UTC). A user's own lists are not counted: they are as long as what one
-- person has done.
CREATE TABLE list_counts (
    org_id     uuid NOT NULL,
    project_id uuid,                                    -- NULL: of all its projects
    list       text NOT NULL CHECK (list IN ('conversations', 'runs')),
    width      text NOT NULL CHECK (width IN ('hour', 'day')),
    starts_at  timestamptz NOT NULL,
    items      bigint NOT NULL,
    UNIQUE NULLS NOT DISTINCT (org_id, list, width, project_id, starts_at)
);
-- Changes to them by hour that the job has not added yet: deletions append and wait for nobody.
CREATE TABLE list_changes (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    list       text NOT NULL,
    starts_at  timestamptz NOT NULL,
    items      bigint NOT NULL
);
CREATE INDEX list_changes_of_org ON list_changes (org_id, list);
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['list_counts', 'list_changes'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO stoa_tenant'
            ' USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()))', name);
    END LOOP;
END $$;

-- `FOR SHARE` keeps the job from passing a row that is deleted meanwhile.
CREATE FUNCTION follow_deleted_items() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    counted_until timestamptz;
BEGIN
    SELECT until INTO counted_until FROM list_progress FOR SHARE;
    INSERT INTO list_changes (org_id, project_id, list, starts_at, items)
    SELECT org_id, project_id, TG_TABLE_NAME, date_trunc('hour', created_at, 'UTC'), -count(*)
    FROM gone WHERE owner_id IS NULL AND created_at < counted_until GROUP BY 1, 2, 3, 4;
    RETURN NULL;
END $$;
CREATE FUNCTION follow_changed_items() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    counted_until timestamptz;
BEGIN
    SELECT until INTO counted_until FROM list_progress FOR SHARE;
    IF TG_OP = 'UPDATE' AND OLD.owner_id IS NULL AND OLD.created_at < counted_until THEN
        INSERT INTO list_changes
        VALUES (OLD.org_id, OLD.project_id, TG_TABLE_NAME, date_trunc('hour', OLD.created_at, 'UTC'), -1);
    END IF;
    IF NEW.owner_id IS NULL AND NEW.created_at < counted_until THEN
        INSERT INTO list_changes
        VALUES (NEW.org_id, NEW.project_id, TG_TABLE_NAME, date_trunc('hour', NEW.created_at, 'UTC'), 1);
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION follow_deleted_items, follow_changed_items FROM PUBLIC;

-- In the order in which writers lock them. What is made now has the time of its transaction, which no count has passed:
-- the condition spares it the call.
LOCK TABLE conversations, runs IN SHARE ROW EXCLUSIVE MODE;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['conversations', 'runs'] LOOP
        EXECUTE format(
            'CREATE TRIGGER counts_of_old_items AFTER INSERT ON %I FOR EACH ROW'
            ' WHEN (NEW.created_at < transaction_timestamp()) EXECUTE FUNCTION follow_changed_items()', name);
        EXECUTE format(
            'CREATE TRIGGER counts_of_moved_items AFTER UPDATE OF org_id, project_id, owner_id, created_at ON %I'
            ' FOR EACH ROW EXECUTE FUNCTION follow_changed_items()', name);
        EXECUTE format(
            'CREATE TRIGGER counts_of_deleted_items AFTER DELETE ON %I REFERENCING OLD TABLE AS gone'
            ' FOR EACH STATEMENT EXECUTE FUNCTION follow_deleted_items()', name);
    END LOOP;
END $$;

-- lists -------------------------------------------------------------------------------------------------------------

-- Where the item lies that p_skipped items of a list, sorted from the newest on, are before: p_scope is what
-- page_of_list has made of the caller, without filters. The item is the one after `skipped` items that are older than
-- `before`. `total` are all items; NULL where more than p_young_max are too young to be counted yet.
CREATE FUNCTION place_in_list(p_list text, p_scope text, p_skipped bigint, p_young_max bigint,
    OUT before timestamptz, OUT skipped bigint, OUT total bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    counted_until timestamptz;
    counted       text := format('org_id = %L AND list = %L', public.stoa_org(), p_list);
    changed       text := counted;
    young         bigint;
    width         text;
    found         record;
BEGIN
    SELECT NULL::timestamptz AS starts_at, 0::bigint AS items INTO found;
    SELECT until INTO counted_until FROM public.list_progress;
    EXECUTE format('SELECT count(*) FROM (SELECT FROM %I WHERE %s AND created_at >= %L LIMIT %s) young',
        p_list, p_scope, counted_until, p_young_max + 1) INTO young;
    IF young > p_young_max THEN
        RETURN;
    END IF;
    IF public.stoa_project() IS NULL THEN
        counted := counted || ' AND project_id IS NULL';
    ELSE
        counted := counted || format(' AND project_id = ANY (%L)',
            coalesce(public.stoa_projects(), '{}') || public.stoa_project());
        changed := changed || format(' AND project_id = ANY (%L)',
            coalesce(public.stoa_projects(), '{}') || public.stoa_project());
    END IF;
    EXECUTE format('SELECT %s + coalesce((SELECT sum(items) FROM list_counts WHERE %s AND width = ''day''), 0)'
        ' + coalesce((SELECT sum(items) FROM list_changes WHERE %s), 0)', young, counted, changed) INTO total;
    IF p_skipped < young THEN
        RETURN;
    END IF;
    skipped := p_skipped - young;
    before := 'infinity';
    FOREACH width IN ARRAY ARRAY['day', 'hour'] LOOP
        EXECUTE format($query$
            SELECT starts_at, items::bigint AS items, passed, complete FROM (
                SELECT starts_at, items, sum(items) OVER (ORDER BY starts_at DESC) - items AS passed,
                    sum(items) OVER () = %6$s AS complete
                FROM (
                    SELECT starts_at, sum(items) AS items FROM (
                        SELECT starts_at, items FROM list_counts
                        WHERE %1$s AND width = %3$L AND starts_at >= %4$L AND starts_at < %5$L
                        UNION ALL
                        SELECT date_trunc(%3$L, starts_at, 'UTC'), items FROM list_changes
                        WHERE %2$s AND starts_at >= %4$L AND starts_at < %5$L
                    ) both_kinds GROUP BY 1
                ) sums
            ) places WHERE passed + items > %7$s ORDER BY starts_at DESC LIMIT 1
        $query$, counted, changed, width, CASE width WHEN 'day' THEN '-infinity' ELSE before - interval '1 day' END,
            before, CASE width WHEN 'day' THEN total - young ELSE found.items END, skipped) INTO found;
        IF found.starts_at IS NULL AND width = 'day' THEN
            before := '-infinity';                      -- behind the end
            RETURN;
        END IF;
        EXIT WHEN found.complete IS NOT TRUE;           -- small days keep no hours
        before := found.starts_at + ('1 ' || width)::interval;
        skipped := skipped - found.passed;
    END LOOP;
    before := least(before, counted_until);
END $$;
REVOKE ALL ON FUNCTION place_in_list FROM PUBLIC;

-- words -------------------------------------------------------------------------------------------------------------

-- A day of an organization, as a word.
CREATE FUNCTION word_of_day(p_org uuid, p_at timestamptz) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN chr(2) || p_org::text || ((p_at AT TIME ZONE 'UTC')::date - DATE '2000-01-01')::text;

-- A text's words and, as two words more, its organization, and its organization with its day: the GIN index over this
-- answers for one organization alone, or for some of its days. No text holds those words (0027).
CREATE FUNCTION dated_words(p_search tsvector, p_org uuid, p_at timestamptz) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN p_search || array_to_tsvector(ARRAY[chr(1) || p_org::text,
        chr(2) || p_org::text || ((p_at AT TIME ZONE 'UTC')::date - DATE '2000-01-01')::text]);
