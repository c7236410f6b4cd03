-- As in 0102, and runs that have not ended are found by the indexes that hold them alone: few of the newest runs may be
-- such, and the list would be read to its end for a page of them.
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
