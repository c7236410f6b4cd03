-- Orders of long lists by something else than created_at, and words that only old messages hold (docs/decisions/0133).
-- The indexes of 0157 stand.

-- The first ids of a long list that is sorted by p_order, NULL where it has to be read. p_scope and p_tail are conditions
-- that page_of_list has made, p_sorting the list after ORDER BY, p_after the value that a cursor stands at.
CREATE FUNCTION page_in_order(p_list text, p_scope text, p_tail text, p_order jsonb, p_sorting text, p_after text,
    p_skipped bigint, p_wanted int) RETURNS uuid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    first      text := p_order #>> '{0,0}';
    descending boolean := p_order #>> '{0,1}';
    single     boolean := jsonb_array_length(p_order) = 1;
BEGIN
    IF first IN ('updated_at', 'started_at', 'ended_at') THEN
        RETURN public.page_by_moment(p_list, p_scope, p_tail, first, descending, p_sorting, p_after::timestamptz,
            p_skipped, p_wanted);
    ELSIF first = 'title' AND single THEN
        RETURN public.page_by_title(p_scope, descending, p_skipped, p_wanted);
    ELSIF first = 'status' AND single THEN
        RETURN public.page_by_status(p_scope, descending, p_skipped, p_wanted);
    END IF;
    RETURN NULL;
END $$;

-- The page is looked for among the newest or oldest hour, then four hours, and so on: BRIN indexes give so little of a
-- table quickly. Bitmap scans alone: with a LIMIT the planner would hope to find enough rows at the table's beginning.
CREATE FUNCTION page_by_moment(p_list text, p_scope text, p_tail text, p_column text, p_descending boolean,
    p_sorting text, p_after timestamptz, p_skipped bigint, p_wanted int) RETURNS uuid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off
SET enable_indexscan = off SET enable_indexonlyscan = off AS $$
DECLARE
    WINDOWS CONSTANT interval[] := ARRAY[interval '1 hour', interval '4 hours', interval '16 hours', interval '64 hours',
        interval '256 hours', interval '1024 hours'];
    columns text := CASE p_list WHEN 'runs' THEN 'id, created_at, started_at, ended_at, status'
                                ELSE 'id, created_at, updated_at, title, message_count' END;
    start   timestamptz := p_after;
    width   interval;
    near    text;
    found   record;
BEGIN
    IF start IS NULL AND p_descending THEN
        start := now();
    ELSIF start IS NULL THEN
        start := public.oldest_of_list(p_list, p_scope);
    END IF;
    FOREACH width IN ARRAY WINDOWS LOOP
        near := CASE WHEN p_descending THEN format('%I >= %L', p_column, start - width)
                     ELSE format('%I <= %L', p_column, start + width) END;
        EXECUTE format('WITH near AS MATERIALIZED (SELECT %s FROM %I WHERE %s%s AND %s)'
            ' SELECT (SELECT count(*) FROM near) AS items,'
            ' ARRAY(SELECT id FROM near ORDER BY %s OFFSET %s LIMIT %s) AS ids',
            columns, p_list, p_scope, p_tail, near, p_sorting, p_skipped, p_wanted) INTO found;
        IF found.items >= p_skipped + p_wanted THEN
            RETURN found.ids;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- When the oldest item was made: nothing has happened to any before. A function of its own, since its caller takes
-- index scans away.
CREATE FUNCTION oldest_of_list(p_list text, p_scope text) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp SET enable_indexscan = on AS $$
DECLARE
    oldest timestamptz;
BEGIN
    EXECUTE format('SELECT created_at FROM %I WHERE %s ORDER BY created_at LIMIT 1', p_list, p_scope) INTO oldest;
    RETURN oldest;
END $$;

-- First those with a title, which an index holds in order, then the others by their ids. Ties go the same way as the
-- titles: the index is read from either end.
CREATE FUNCTION page_by_title(p_scope text, p_descending boolean, p_skipped bigint, p_wanted int) RETURNS uuid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    way    text := CASE WHEN p_descending THEN 'DESC' ELSE 'ASC' END;
    titled bigint;
    found  uuid[];
    others uuid[];
BEGIN
    EXECUTE format('SELECT ARRAY(SELECT id FROM conversations WHERE %s AND title IS NOT NULL'
        ' ORDER BY org_id %s, title %s, id %s OFFSET %s LIMIT %s)', p_scope, way, way, way, p_skipped, p_wanted)
        INTO found;
    IF cardinality(found) = p_wanted THEN
        RETURN found;
    END IF;
    EXECUTE format('SELECT count(*) FROM (SELECT FROM conversations WHERE %s AND title IS NOT NULL LIMIT %s) titled',
        p_scope, p_skipped + p_wanted) INTO titled;
    EXECUTE format('SELECT ARRAY(SELECT id FROM conversations WHERE %s AND title IS NULL'
        ' ORDER BY org_id %s, id %s OFFSET %s LIMIT %s)', p_scope, way, way, greatest(p_skipped - titled, 0), p_wanted - cardinality(found)) INTO others;
    RETURN found || others;
END $$;

-- One status after another, each by ids.
CREATE FUNCTION page_by_status(p_scope text, p_descending boolean, p_skipped bigint, p_wanted int) RETURNS uuid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    status  text;
    chosen  text;
    skipped bigint := p_skipped;
    passed  bigint;
    part    uuid[];
    found   uuid[] := '{}';
BEGIN
    FOR status IN SELECT name FROM unnest(ARRAY['canceled', 'completed', 'created', 'failed', 'paused', 'started']) AS name
        ORDER BY CASE WHEN p_descending THEN NULL ELSE name END, name DESC LOOP
        chosen := p_scope || format(' AND status = %L', status);
        IF status IN ('created', 'started', 'paused') THEN  -- as in page_of_list: for the indexes that hold these alone
            chosen := chosen || format(' AND (queued_at IS NULL AND status IN (''created'', ''started'', ''paused'')'
                ' OR queued_at IS NOT NULL)');
        END IF;
        EXECUTE format('SELECT ARRAY(SELECT id FROM runs WHERE %s ORDER BY id OFFSET %s LIMIT %s)', chosen, skipped,
            p_wanted - cardinality(found)) INTO part;
        found := found || part;
        EXIT WHEN cardinality(found) = p_wanted;
        IF cardinality(part) > 0 THEN
            skipped := 0;
        ELSIF skipped > 0 THEN
            EXECUTE format('SELECT count(*) FROM (SELECT FROM runs WHERE %s LIMIT %s) passed', chosen, skipped)
                INTO passed;
            skipped := skipped - passed;
        END IF;
    END LOOP;
    RETURN found;
END $$;

-- As in 0102, and with p_until only what the days before it hold: messages of these days, and forks made in them.
DROP FUNCTION matching_conversations(text, int, timestamptz);
CREATE FUNCTION matching_conversations(p_query text, p_hits_max int, p_since timestamptz DEFAULT NULL,
    p_until timestamptz DEFAULT NULL, OUT ids uuid[], OUT complete boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    org     uuid := public.stoa_org();
    seen    text := public.scope_of_lists();
    forks   text := '';
    words   tsquery := to_tsquery('simple', p_query);
BEGIN
    IF org IS NULL THEN
        ids := '{}';
        complete := true;
        RETURN;
    END IF;
    IF p_since IS NULL THEN
        words := words && format('''%s%s''', chr(1), org)::tsquery;
    ELSE
        words := words && (SELECT string_agg(format('''%s''', public.word_of_day(org, day)), '|')::tsquery
            FROM generate_series(date_trunc('day', p_since, 'UTC'),
                coalesce(p_until - interval '1 microsecond', now() + interval '1 day'), interval '1 day') AS day);
        forks := format(' UNION SELECT id FROM forks WHERE EXISTS ('
            'SELECT FROM conversation_segments s JOIN messages m ON m.org_id = s.org_id AND m.conversation_id = s.source_id'
            ' AND m.position BETWEEN s.first_position AND s.last_position'
            ' WHERE s.org_id = $2 AND s.conversation_id = forks.id AND m.search @@ %L)', to_tsquery('simple', p_query));
    END IF;
    -- EXECUTE: a plan of its own for each query. The statement of a function would soon be planned for any query, and
    -- then read whole tables.
    EXECUTE format($query$
        WITH hits AS MATERIALIZED (
            SELECT conversation_id, position FROM messages
            WHERE dated_words(search, org_id, created_at) @@ $1 AND %1$s LIMIT $3
        ), titles AS MATERIALIZED (
            SELECT id FROM conversations
            WHERE dated_words(search, org_id, created_at) @@ $1 AND %2$s LIMIT $3
        ), forks AS MATERIALIZED (
            SELECT id FROM conversations WHERE %2$s AND created_at >= $4 AND created_at < $5 AND forked_from IS NOT NULL
                LIMIT $3
        )
        SELECT coalesce(array_agg(id), '{}'), (SELECT count(*) FROM hits) < $3 AND (SELECT count(*) FROM titles) < $3
            AND (SELECT count(*) FROM forks) < $3
        FROM (
            SELECT conversation_id AS id FROM hits
            UNION SELECT s.conversation_id FROM hits h
            JOIN conversation_segments s ON s.org_id = $2 AND s.source_id = h.conversation_id
                AND h.position BETWEEN s.first_position AND s.last_position
            UNION SELECT id FROM titles
            %3$s
        ) found
    $query$, seen, seen || public.owner_of_lists(), forks) INTO ids, complete USING words, org, p_hits_max, p_since,
        coalesce(p_until, 'infinity');
END $$;


-- As in 0102, and words that are found in old messages alone cost what a page of them costs, not what all hits do.
CREATE OR REPLACE FUNCTION newest_with_words(p_query text, p_scope text, p_wanted bigint, p_all bigint, OUT ids uuid[],
    OUT total bigint, OUT shown boolean, OUT complete boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    SAMPLE   CONSTANT int := 20;
    READ_MAX CONSTANT int := 500;
    HITS_MAX CONSTANT int := 5000;
    NEWEST   CONSTANT int := 2000;
    STEPS_MAX CONSTANT int := 24;
    DAYS_MAX CONSTANT interval := interval '60 days';
    WALK_MAX CONSTANT interval := interval '100 ms';  -- as long as reading 20,000 hits
    begun    timestamptz := clock_timestamp();
    found    record;
    read     record;
    within   bigint;
    since    timestamptz;
    until    timestamptz;
    oldest   timestamptz;
    days     int := 1;
    part     text;
    seen     uuid[];
    more     uuid[];
BEGIN
    shown := false;
    complete := false;
    SELECT * INTO found FROM public.newest_matching_conversations(p_query, p_scope, SAMPLE, p_all, SAMPLE);
    within := cardinality(found.ids);
    IF within > 0 AND p_wanted * SAMPLE / within <= READ_MAX / 2 THEN
        SELECT * INTO found FROM public.newest_matching_conversations(p_query, p_scope, p_wanted, p_all, READ_MAX);
        IF cardinality(found.ids) = p_wanted THEN
            ids := found.ids;
            total := found.total;
            shown := true;
            RETURN;
        END IF;
    END IF;
    until := date_trunc('day', now(), 'UTC') + interval '2 days';
    ids := '{}';
    seen := '{}';
    EXECUTE format('SELECT created_at FROM conversations WHERE %s ORDER BY created_at DESC OFFSET %s LIMIT 1',
        p_scope, NEWEST - 1) INTO since;
    IF since >= now() - DAYS_MAX THEN
        SELECT * INTO found FROM public.matching_conversations(p_query, HITS_MAX, since);
        IF found.complete THEN
            seen := found.ids;
            EXECUTE format('SELECT ARRAY(SELECT id FROM conversations WHERE %s AND created_at >= %L AND id = ANY ($1)'
                ' ORDER BY created_at DESC, id)', p_scope, since) INTO ids USING seen;
            IF cardinality(ids) >= p_wanted THEN
                total := cardinality(ids) * p_all / NEWEST;
                ids := ids[:p_wanted];
                shown := true;
                RETURN;
            END IF;
            until := since;
        END IF;
    END IF;
    SELECT * INTO found FROM public.matching_conversations(p_query, HITS_MAX);
    IF found.complete THEN
        ids := found.ids;
        complete := true;
        RETURN;
    END IF;
    -- Back through the days, each step twice as long as the one before, until a page is full: every conversation that was
    -- made since a day has all its messages since that day, so it is in `seen` if it holds the words. A step of too many
    -- hits is taken again in quarters; in a single day of too many its newest conversations are read, then all of that day.
    total := cardinality(found.ids);
    EXECUTE format('SELECT created_at FROM conversations WHERE %s ORDER BY created_at LIMIT 1', p_scope) INTO oldest;
    FOR step IN 1 .. STEPS_MAX LOOP
        EXIT WHEN clock_timestamp() > begun + WALK_MAX;
        IF until <= oldest THEN
            ids := seen;
            complete := true;
            RETURN;
        END IF;
        since := until - make_interval(days => days);
        SELECT * INTO found FROM public.matching_conversations(p_query, HITS_MAX, since, until);
        IF NOT found.complete AND days > 1 THEN
            days := greatest(days / 4, 1);
            CONTINUE;
        END IF;
        part := format('%s AND created_at >= %L AND created_at < %L', p_scope, since, until);
        IF NOT found.complete THEN
            SELECT * INTO read FROM public.newest_matching_conversations(p_query, part, p_wanted - cardinality(ids), p_all,
                READ_MAX);
            IF cardinality(ids || read.ids) >= p_wanted THEN
                ids := ids || read.ids;
                shown := true;
                RETURN;
            END IF;
            SELECT * INTO found FROM public.matching_conversations(p_query, 2147483647, since, until);
        END IF;
        seen := seen || found.ids;
        EXECUTE format('SELECT ARRAY(SELECT id FROM conversations WHERE %s AND id = ANY ($1)'
            ' ORDER BY created_at DESC, id)', part) INTO more USING seen;
        ids := ids || more;
        IF cardinality(ids) >= p_wanted THEN
            ids := ids[:p_wanted];
            shown := true;
            RETURN;
        END IF;
        until := since;
        days := days * 2;
    END LOOP;
END $$;

-- As in 0121, with these.
CREATE OR REPLACE FUNCTION page_of_list(p_asked jsonb, OUT ids uuid[], OUT total bigint, OUT estimated boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    HITS_MAX CONSTANT int := 5000;
    SKIP_MAX CONSTANT int := 1000;
    newest    boolean;
    list      text := p_asked ->> 'list';
    allowed   text[] := CASE list WHEN 'conversations' THEN '{model_id,app_id,user_id}'
                                  WHEN 'runs' THEN '{status,conversation_id,user_id,app_id,session_id}' END;
    sortable  text[] := CASE list WHEN 'conversations' THEN '{created_at,updated_at,title,message_count}'
                                  WHEN 'runs' THEN '{created_at,started_at,ended_at,status}' END;
    count_max bigint := p_asked ->> 'count_max';
    skipped   bigint := p_asked ->> 'offset';
    wanted    int := p_asked ->> 'limit';
    words     text := p_asked ->> 'query';
    after     jsonb := nullif(p_asked -> 'after', 'null');
    first     text := p_asked #>> '{order,0,0}';
    scope     text := public.scope_of_lists() || public.owner_of_lists();
    whole     text := scope;
    tail      text := '';
    sorting   text := '';
    hits      record;
    place     record;                                   -- as place_in_list gives it
    plan      json;
    counted   bigint;
    term      record;
BEGIN
    IF allowed IS NULL OR public.stoa_org() IS NULL THEN
        RAISE EXCEPTION 'no list';
    END IF;
    FOR term IN SELECT key AS name, ARRAY(SELECT jsonb_array_elements_text(value)) AS said
        FROM jsonb_each(p_asked -> 'filters') LOOP
        IF term.name <> ALL (allowed) THEN
            RAISE EXCEPTION 'no filter';
        END IF;
        scope := scope || CASE WHEN cardinality(term.said) = 1 THEN format(' AND %I = %L', term.name, term.said[1])
                               ELSE format(' AND %I = ANY (%L)', term.name, term.said) END;
    END LOOP;
    FOR term IN SELECT value ->> 0 AS name, (value ->> 1)::boolean AS descending
        FROM jsonb_array_elements(p_asked -> 'order') LOOP
        IF term.name <> ALL (sortable) THEN
            RAISE EXCEPTION 'no order';
        END IF;
        -- What has not happened, and what has no title, stands at the end.
        sorting := sorting || format('%I %s, ', term.name, CASE WHEN NOT term.descending THEN 'ASC'
            WHEN term.name IN ('started_at', 'ended_at', 'title') THEN 'DESC NULLS LAST' ELSE 'DESC' END);
    END LOOP;
    sorting := sorting || CASE WHEN p_asked -> 'order' = '[["title", true]]' THEN 'id DESC' ELSE 'id' END;
    IF list = 'runs' AND p_asked #> '{filters,status}' <@ '["created", "started", "paused"]' THEN
        scope := scope || ' AND (queued_at IS NULL AND status IN (''created'', ''started'', ''paused'')'
            ' OR queued_at IS NOT NULL)';
    END IF;
    IF after IS NOT NULL THEN
        tail := format(' AND %1$I %2$s= %3$L AND (%1$I %2$s %3$L OR id > %4$L)', first,
                       CASE WHEN (p_asked #>> '{order,0,1}')::boolean THEN '<'
                           ELSE '>' END, after ->> 'value', after ->> 'id');
    END IF;

    SELECT NULL::timestamptz AS before, NULL::bigint AS skipped, NULL::bigint AS total INTO place;
    EXECUTE format('EXPLAIN (FORMAT JSON) SELECT FROM %I WHERE %s', list, scope) INTO plan;
    total := (plan #>> '{0,Plan,Plan Rows}')::float8::bigint;
    newest := p_asked -> 'order' = '[["created_at", true]]';
    IF words IS NOT NULL THEN
        IF newest AND total > count_max THEN
            SELECT * INTO hits FROM public.newest_with_words(words, scope || tail, skipped + wanted, total);
            IF hits.shown THEN
                ids := hits.ids[skipped + 1:];
                total := greatest(hits.total, skipped + wanted);
                estimated := true;
                RETURN;
            END IF;
        ELSE
            SELECT * INTO hits FROM public.matching_conversations(words, HITS_MAX);
        END IF;
        IF NOT hits.complete THEN
            SELECT * INTO hits FROM public.matching_conversations(words, 2147483647);
        END IF;
        scope := scope || format(' AND id = ANY (%L)', hits.ids);
        total := cardinality(hits.ids);
    ELSIF scope = whole AND public.stoa_user() IS NULL AND (total > count_max OR skipped > SKIP_MAX) THEN
        SELECT * INTO place FROM public.place_in_list(list, whole, skipped, count_max);
        IF newest AND after IS NULL AND skipped > SKIP_MAX AND place.before IS NOT NULL THEN
            tail := format(' AND created_at < %L', place.before);
            skipped := place.skipped;
        END IF;
    END IF;

    IF NOT newest AND words IS NULL AND total > count_max AND skipped <= SKIP_MAX THEN
        ids := public.page_in_order(list, scope, tail, p_asked -> 'order', sorting, after ->> 'value', skipped,
            wanted);
    END IF;
    IF ids IS NULL THEN
        EXECUTE format('SELECT ARRAY(SELECT id FROM %I WHERE %s%s ORDER BY %s OFFSET %s LIMIT %s)', list, scope, tail,
            sorting, skipped, wanted) INTO ids;
    END IF;
    IF place.total IS NOT NULL THEN
        total := place.total;
        estimated := false;
        RETURN;
    END IF;
    estimated := words IS NULL AND total > 10 * count_max;
    IF NOT estimated THEN
        EXECUTE format('SELECT count(*), count(*) > %s FROM (SELECT FROM %I WHERE %s LIMIT %s) shown', count_max, list,
            scope, count_max + 1)
            INTO counted, estimated;
        total := CASE WHEN estimated THEN greatest(total, counted) ELSE counted END;
    END IF;
END $$;
REVOKE ALL ON FUNCTION page_in_order, page_by_moment, oldest_of_list, page_by_title, page_by_status,
    matching_conversations FROM PUBLIC;
