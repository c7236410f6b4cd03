-- What keeps a large database as quick as an empty one (docs/decisions/0027): words that know their organization, sums
-- of the bill, and what the doctor need not look at again. The indexes follow in 0028, which takes no lock.

-- words -------------------------------------------------------------------------------------------------------------

-- A text's words and, as one word more, its organization: the GIN index over this answers for one organization alone.
-- No text holds that word, since it begins with a control character, which separates words.
CREATE FUNCTION search_words(p_search tsvector, p_org uuid) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN p_search || array_to_tsvector(ARRAY[chr(1) || p_org::text]);

-- The conversations of the caller's organization and project whose title or messages hold the words, out of at most so
-- many hits of each kind; `complete` says that there are no more. It runs as the owner of the tables, because under
-- row-level security no index can serve `@@`, which is not leakproof. So it enforces by itself what the policies say,
-- takes nothing but words, and gives nothing but ids; who calls it reads the rows under the policies.
CREATE FUNCTION matching_conversations(p_query text, p_hits_max int, OUT ids uuid[], OUT complete boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    org     uuid := public.stoa_org();
    project uuid := public.stoa_project();
    words   tsquery := to_tsquery('simple', p_query) && format('''%s%s''', chr(1), org)::tsquery;
BEGIN
    IF org IS NULL THEN
        ids := '{}';
        complete := true;
        RETURN;
    END IF;
    -- EXECUTE: a plan of its own for each query. The statement of a function would soon be planned for any query, and
    -- then read whole tables.
    EXECUTE $query$
        WITH hits AS MATERIALIZED (
            SELECT conversation_id, position FROM messages
            WHERE search_words(search, org_id) @@ $1 AND org_id = $2 AND ($3 IS NULL OR project_id = $3) LIMIT $4
        ), titles AS MATERIALIZED (
            SELECT id FROM conversations
            WHERE search_words(search, org_id) @@ $1 AND org_id = $2 AND ($3 IS NULL OR project_id = $3) LIMIT $4
        )
        SELECT coalesce(array_agg(id), '{}'), (SELECT count(*) FROM hits) < $4 AND (SELECT count(*) FROM titles) < $4
        FROM (
            SELECT conversation_id AS id FROM hits
            UNION SELECT s.conversation_id FROM hits h
            JOIN conversation_segments s ON s.org_id = $2 AND s.source_id = h.conversation_id
                AND h.position BETWEEN s.first_position AND s.last_position
            UNION SELECT id FROM titles
        ) found
    $query$ INTO ids, complete USING words, org, project, p_hits_max;
END $$;
REVOKE ALL ON FUNCTION matching_conversations FROM PUBLIC;

-- Of words that very many messages hold: the newest conversations that hold them, found by reading conversations from
-- the newest on, until there are enough. `p_scope` is a condition that page_of_list has made. `total` is what the share
-- of those that were read says of all of `p_all`.
CREATE FUNCTION newest_matching_conversations(p_query text, p_scope text, p_wanted bigint, p_all bigint, p_read_max int,
    OUT ids uuid[], OUT total bigint, OUT complete boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    read bigint;
BEGIN
    EXECUTE format($query$
        SELECT coalesce(array_agg(id ORDER BY n), '{}'), max(n) FROM (
            SELECT id, n FROM (
                SELECT *, row_number() OVER () AS n FROM (
                    SELECT org_id, id, search FROM conversations WHERE %s ORDER BY created_at DESC, id LIMIT %s
                ) newest
            ) c
            WHERE c.search @@ $1
               OR EXISTS (SELECT FROM messages m WHERE m.org_id = c.org_id AND m.conversation_id = c.id
                   AND m.search @@ $1)
               OR EXISTS (SELECT FROM conversation_segments s JOIN messages m ON m.org_id = s.org_id
                   AND m.conversation_id = s.source_id
                              AND m.position BETWEEN s.first_position AND s.last_position
                          WHERE s.org_id = c.org_id AND s.conversation_id = c.id AND m.search @@ $1)
            LIMIT %s
        ) found
    $query$, p_scope, p_read_max, p_wanted) INTO ids, read USING to_tsquery('simple', p_query);
    total := cardinality(ids) * p_all / greatest(read, 1);
    complete := false;
END $$;
REVOKE ALL ON FUNCTION newest_matching_conversations FROM PUBLIC;

-- lists -------------------------------------------------------------------------------------------------------------

-- The ids of one page of a list and how many items the list has. It runs as the owner of the tables and enforces by
-- itself what the policies say, for two reasons: a policy's `project_id IS NULL OR …` keeps an index from giving the
-- order and is computed for every row that is passed over or counted; and under row-level security no index serves a
-- search for words. Who calls it reads the rows of these ids under the policies.
--
-- p_asked: {"list": "runs", "filters": {"status": ["failed"]}, "order": [["created_at", true]], "after": {"value",
-- "id"} or null, "offset", "limit", "query": a to_tsquery expression or null, "count_max"}. `order` holds (column,
-- descending); the id follows, so that pages never overlap. (VOLATILE, because no other function may ask EXPLAIN.) Up
-- to count_max the total is exact. Beyond it is the planner's estimate, and `estimated` says so; a list that is
-- estimated at ten times that is not counted.
CREATE FUNCTION page_of_list(p_asked jsonb, OUT ids uuid[], OUT total bigint, OUT estimated boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    HITS_MAX CONSTANT int := 5000;
    READ_MAX CONSTANT int := 500;
    newest    boolean;
    shown     boolean := false;
    list      text := p_asked ->> 'list';
    allowed   text[] := CASE list WHEN 'conversations' THEN '{model_id,app_id,user_id}'
                                  WHEN 'runs' THEN '{status,conversation_id,user_id}' END;
    sortable  text[] := CASE list WHEN 'conversations' THEN '{created_at,updated_at,title,message_count}'
                                  WHEN 'runs' THEN '{created_at,started_at,ended_at,status}' END;
    count_max bigint := p_asked ->> 'count_max';
    skipped   bigint := p_asked ->> 'offset';
    wanted    int := p_asked ->> 'limit';
    words     text := p_asked ->> 'query';
    after     jsonb := nullif(p_asked -> 'after', 'null');
    first     text := p_asked #>> '{order,0,0}';
    scope     text := format('org_id = %L', public.stoa_org());
    tail      text := '';
    sorting   text := '';
    hits      record;
    plan      json;
    counted   bigint;
    term      record;
BEGIN
    IF allowed IS NULL OR public.stoa_org() IS NULL THEN
        RAISE EXCEPTION 'no list';
    END IF;
    IF public.stoa_project() IS NOT NULL THEN
        scope := scope || format(' AND project_id = %L', public.stoa_project());
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

    EXECUTE format('EXPLAIN (FORMAT JSON) SELECT FROM %I WHERE %s', list, scope) INTO plan;
    total := (plan #>> '{0,Plan,Plan Rows}')::float8::bigint;
    IF words IS NOT NULL THEN
        newest := p_asked -> 'order' = '[["created_at", true]]' AND total > count_max;
        -- The beginning of a word of three letters or less stands for thousands of words: the index would collect all
        -- of them before it gave one.
        IF newest AND words ~ '(^| )\w{1,3}:\*$' THEN
            SELECT * INTO hits FROM public.newest_matching_conversations(words, scope || tail, skipped + wanted, total,
                4 * wanted);
            shown := cardinality(hits.ids) = skipped + wanted;
        END IF;
        IF NOT shown THEN
            SELECT * INTO hits FROM public.matching_conversations(words, HITS_MAX);
            IF newest AND NOT hits.complete THEN
                SELECT * INTO hits FROM public.newest_matching_conversations(words, scope || tail, skipped + wanted,
                    total, READ_MAX);
                shown := cardinality(hits.ids) = skipped + wanted;
            END IF;
        END IF;
        IF shown THEN
            ids := hits.ids[skipped + 1:];
            total := greatest(hits.total, skipped + wanted);
            estimated := true;
            RETURN;
        END IF;
        IF NOT hits.complete THEN
            SELECT * INTO hits FROM public.matching_conversations(words, 2147483647);
        END IF;
        scope := scope || format(' AND id = ANY (%L)', hits.ids);
        total := cardinality(hits.ids);
    END IF;

    EXECUTE format('SELECT ARRAY(SELECT id FROM %I WHERE %s%s ORDER BY %s OFFSET %s LIMIT %s)', list, scope, tail,
        sorting, skipped, wanted) INTO ids;
    estimated := words IS NULL AND total > 10 * count_max;
    IF NOT estimated THEN
        EXECUTE format('SELECT count(*), count(*) > %s FROM (SELECT FROM %I WHERE %s LIMIT %s) shown', count_max, list,
            scope, count_max + 1)
            INTO counted, estimated;
        total := CASE WHEN estimated THEN greatest(total, counted) ELSE counted END;
    END IF;
END $$;
REVOKE ALL ON FUNCTION page_of_list FROM PUBLIC;
GRANT EXECUTE ON FUNCTION page_of_list TO stoa_tenant;

-- the bill ----------------------------------------------------------------------------------------------------------

-- Sums of the bill by hour and by day (UTC), for reports. Everything before `until` is in them; what is younger is read
-- line by line.
CREATE TABLE usage_progress (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    until  timestamptz NOT NULL
);
INSERT INTO usage_progress (until) VALUES ('1970-01-01T00:00:00Z');

CREATE TABLE usage_sums (
    org_id            uuid NOT NULL,
    project_id        uuid NOT NULL,
    width             text NOT NULL CHECK (width IN ('hour', 'day')),
    starts_at         timestamptz NOT NULL,
    key_id            uuid,
    model             text NOT NULL,
    kind              text NOT NULL,
    calls             bigint NOT NULL,
    prompt_tokens     bigint NOT NULL,
    cached_tokens     bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    reasoning_tokens  bigint NOT NULL,
    cost_usd          numeric NOT NULL,
    estimated_calls   bigint NOT NULL,
    unpriced_calls    bigint NOT NULL,
    first_id          bigint NOT NULL,                  -- the oldest of its lines: puts reports in a fixed order
    UNIQUE NULLS NOT DISTINCT (org_id, width, starts_at, project_id, key_id, model, kind)
);
ALTER TABLE usage_sums ENABLE ROW LEVEL SECURITY;
-- In subqueries the settings are read once for a statement, and not for each of its thousands of rows.
CREATE POLICY tenant ON usage_sums TO stoa_tenant
    USING (org_id = (SELECT stoa_org()) AND ((SELECT stoa_project()) IS NULL OR project_id = (SELECT stoa_project())));
GRANT SELECT ON usage_sums, usage_progress TO stoa_tenant;

-- Adds one line to the sums of its hour and day, or takes it away (p_sign -1).
CREATE FUNCTION add_usage(p_line model_calls, p_sign int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO usage_sums AS s
    SELECT p_line.org_id, p_line.project_id, width, date_trunc(width, p_line.at, 'UTC'), p_line.key_id, p_line.model,
        p_line.kind,
           p_sign, p_sign * p_line.prompt_tokens, p_sign * p_line.cached_tokens, p_sign * p_line.completion_tokens,
               p_sign * p_line.reasoning_tokens,
           p_sign * coalesce(p_line.cost_usd, 0), p_sign * p_line.estimated::int,
               p_sign * (p_line.cost_usd IS NULL)::int, p_line.id
    FROM unnest(ARRAY['hour', 'day']) AS width
    ON CONFLICT (org_id, width, starts_at, project_id, key_id, model, kind) DO UPDATE SET
        calls = s.calls + excluded.calls, prompt_tokens = s.prompt_tokens + excluded.prompt_tokens,
        cached_tokens = s.cached_tokens + excluded.cached_tokens,
            completion_tokens = s.completion_tokens + excluded.completion_tokens,
        reasoning_tokens = s.reasoning_tokens + excluded.reasoning_tokens, cost_usd = s.cost_usd + excluded.cost_usd,
        estimated_calls = s.estimated_calls + excluded.estimated_calls,
            unpriced_calls = s.unpriced_calls + excluded.unpriced_calls,
        first_id = least(s.first_id, excluded.first_id)
$$;

-- A line that is changed, or that is entered for an earlier time, may be in the sums already: then they follow it. `FOR
-- SHARE` keeps the job that makes the sums from passing it meanwhile.
CREATE FUNCTION follow_usage() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    summed_until timestamptz;
BEGIN
    SELECT until INTO summed_until FROM usage_progress FOR SHARE;
    IF TG_OP <> 'INSERT' AND OLD.at < summed_until THEN
        PERFORM add_usage(OLD, -1);
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.at < summed_until THEN
        PERFORM add_usage(NEW, 1);
    END IF;
    RETURN NULL;
END $$;
-- A line that is entered as it happens has the time of its transaction, which no sum has passed: the condition spares
-- it the call.
CREATE TRIGGER usage_of_old_lines AFTER INSERT ON model_calls FOR EACH ROW
    WHEN (NEW.at < transaction_timestamp()) EXECUTE FUNCTION follow_usage();
CREATE TRIGGER usage_of_changed_lines AFTER DELETE OR UPDATE OF
    org_id, project_id, key_id, model, kind, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens,
        cost_usd, estimated, at
    ON model_calls FOR EACH ROW EXECUTE FUNCTION follow_usage();

-- the doctor --------------------------------------------------------------------------------------------------------

-- Spans of time in which a check has found nothing and nothing can change any more.
CREATE TABLE doctor_spans (
    name        text NOT NULL,                          -- the check
    starts_at   timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL,
    verified_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, starts_at)
);
GRANT SELECT ON doctor_spans TO stoa_tenant;

-- What people and models write does not get into the planner's statistics (0011).
ALTER TABLE usage_sums ALTER COLUMN model SET STATISTICS 0;
