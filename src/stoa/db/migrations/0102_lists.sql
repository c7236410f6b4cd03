-- Searches for words, and pages, as docs/decisions/0100 has them. The indexes of 0101 stand.

-- The conversations of the caller's organization and projects whose title or messages hold the words, out of at most so
-- many hits of each kind; `complete` says that there are no more. With p_since only those that are not older: the index
-- looks at the days since then alone, and the messages of a conversation are not older than it, but those that a fork
-- shares with its origin. It runs as the owner of the tables and enforces by itself what the policies say (0027, 0036).
-- Without sequential scans: the planner has no statistics of words, and would believe that few rows have to be read
-- until there are enough hits.
DROP FUNCTION matching_conversations(text, int);
CREATE FUNCTION matching_conversations(p_query text, p_hits_max int, p_since timestamptz DEFAULT NULL, OUT ids uuid[],
    OUT complete boolean)
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
            FROM generate_series(date_trunc('day', p_since, 'UTC'), now() + interval '1 day', interval '1 day') AS day);
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
            SELECT id FROM conversations WHERE %2$s AND created_at >= $4 AND forked_from IS NOT NULL LIMIT $3
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
    $query$, seen, seen || public.owner_of_lists(), forks) INTO ids, complete USING words, org, p_hits_max, p_since;
END $$;
REVOKE ALL ON FUNCTION matching_conversations FROM PUBLIC;

-- The newest conversations that hold the words, where a list is too long to be looked through: `shown` says that `ids`
-- are so many as were asked for, and `total` about how many there are; `complete` that `ids` are all there are. First a
-- few conversations are read, which tells how frequent the words are. Very frequent ones are found by reading on, others
-- in the index: among the newest conversations, then in all, then among more of the newest. p_scope is a condition that
-- page_of_list has made.
CREATE FUNCTION newest_with_words(p_query text, p_scope text, p_wanted bigint, p_all bigint, OUT ids uuid[],
    OUT total bigint, OUT shown boolean, OUT complete boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    SAMPLE   CONSTANT int := 20;
    READ_MAX CONSTANT int := 500;
    HITS_MAX CONSTANT int := 5000;
    DAYS_MAX CONSTANT interval := interval '60 days';
    found    record;
    within   bigint;
    since    timestamptz;
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
    FOREACH within IN ARRAY ARRAY[2000, p_all, 20000] LOOP
        IF within = p_all THEN
            SELECT * INTO found FROM public.matching_conversations(p_query, HITS_MAX);
            IF found.complete THEN
                ids := found.ids;
                complete := true;
                RETURN;
            END IF;
            CONTINUE;
        END IF;
        EXECUTE format('SELECT created_at FROM conversations WHERE %s ORDER BY created_at DESC OFFSET %s LIMIT 1',
            p_scope, within - 1) INTO since;
        CONTINUE WHEN since IS NULL OR since < now() - DAYS_MAX;
        SELECT * INTO found FROM public.matching_conversations(p_query, HITS_MAX, since);
        CONTINUE WHEN NOT found.complete;
        EXECUTE format('SELECT ARRAY(SELECT id FROM conversations WHERE %s AND created_at >= %L AND id = ANY (%L)'
            ' ORDER BY created_at DESC, id)', p_scope, since, found.ids) INTO ids;
        IF cardinality(ids) >= p_wanted THEN
            total := cardinality(ids) * p_all / within;
            ids := ids[:p_wanted];
            shown := true;
            RETURN;
        END IF;
    END LOOP;
    SELECT * INTO found FROM public.newest_matching_conversations(p_query, p_scope, p_wanted, p_all, READ_MAX);
    IF cardinality(found.ids) = p_wanted THEN
        ids := found.ids;
        total := found.total;
        shown := true;
    END IF;
END $$;
REVOKE ALL ON FUNCTION newest_with_words FROM PUBLIC;

-- As in 0036 and 0044, with these.
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
        sorting := sorting || format('%I %s, ', term.name, CASE WHEN term.descending THEN 'DESC' ELSE 'ASC' END);
    END LOOP;
    sorting := sorting || 'id';
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

    EXECUTE format('SELECT ARRAY(SELECT id FROM %I WHERE %s%s ORDER BY %s OFFSET %s LIMIT %s)', list, scope, tail,
        sorting, skipped, wanted) INTO ids;
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
