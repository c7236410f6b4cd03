-- People (docs/decisions/0028): users, what they are members of, their tokens and sessions; and row-level security that
-- admits a user to several projects, and to no conversation but the user's own.

-- The user of the transaction; NULL for an access key.
CREATE FUNCTION stoa_user() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('stoa.user_id', true), '')::uuid;

-- The projects that the transaction sees beside stoa_project(), where they are several or none.
CREATE FUNCTION stoa_projects() RETURNS uuid[] LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('stoa.project_ids', true), '')::uuid[];

-- Whether what belongs to this user, or with NULL to the access keys, is the transaction's. The doctor counts over all.
CREATE FUNCTION stoa_owns(p_owner uuid) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
    RETURN p_owner IS NOT DISTINCT FROM stoa_user() OR current_setting('stoa.owners', true) IS NOT DISTINCT FROM 'all';

-- people ------------------------------------------------------------------------------------------------------------

CREATE TABLE users (
    id              uuid PRIMARY KEY,
    email           text NOT NULL,                      -- in lower case
    first_name      text NOT NULL DEFAULT '',
    last_name       text NOT NULL DEFAULT '',
    timezone        text NOT NULL DEFAULT 'UTC',
    password        text,                               -- argon2id, as argon2-cffi writes it; NULL: cannot sign in
    failed_attempts int NOT NULL DEFAULT 0,             -- to sign in, since the last that succeeded
    next_attempt_at timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_by_email ON users (email);

CREATE TABLE org_members (
    org_id     uuid NOT NULL REFERENCES orgs ON DELETE CASCADE,
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    role       text NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, user_id)
);
CREATE INDEX org_members_by_user ON org_members (user_id);

CREATE TABLE project_members (
    org_id     uuid NOT NULL,
    project_id uuid NOT NULL,
    user_id    uuid NOT NULL,
    role       text NOT NULL CHECK (role IN ('admin', 'editor', 'viewer')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, project_id, user_id),
    FOREIGN KEY (org_id, project_id) REFERENCES projects ON DELETE CASCADE,
    FOREIGN KEY (org_id, user_id) REFERENCES org_members ON DELETE CASCADE
);
CREATE INDEX project_members_by_user ON project_members (org_id, user_id);

-- An invitation opens once. `project_role` goes with a project.
CREATE TABLE invitations (
    org_id       uuid NOT NULL REFERENCES orgs ON DELETE CASCADE,
    project_id   uuid,
    id           uuid NOT NULL,
    email        text NOT NULL,
    role         text NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    project_role text CHECK (project_role IN ('admin', 'editor', 'viewer')),
    hash         bytea NOT NULL UNIQUE,                 -- SHA-512 of the token
    expires_at   timestamptz NOT NULL,
    created_by   uuid,                                  -- the user, or the key
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, project_id) REFERENCES projects ON DELETE CASCADE,
    CHECK ((project_id IS NULL) = (project_role IS NULL))
);
CREATE UNIQUE INDEX invitations_by_email ON invitations (org_id, coalesce(project_id, '00000000-0000-0000-0000-000000000000'), email);

-- A token acts in one organization, with the roles that its user has there when it is used.
CREATE TABLE personal_tokens (
    org_id       uuid NOT NULL,
    id           uuid NOT NULL,
    user_id      uuid NOT NULL,
    name         text NOT NULL,
    hash         bytea NOT NULL UNIQUE,                 -- SHA-512 of the whole token
    preview      text NOT NULL,
    expires_at   timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, user_id) REFERENCES org_members ON DELETE CASCADE
);
CREATE INDEX personal_tokens_by_user ON personal_tokens (org_id, user_id);

-- A user who is signed in. The browser holds an opaque id, the database its hash.
CREATE TABLE user_sessions (
    org_id     uuid NOT NULL,
    id         uuid NOT NULL,
    user_id    uuid NOT NULL,
    hash       bytea NOT NULL UNIQUE,                   -- SHA-512 of the opaque id
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, user_id) REFERENCES org_members ON DELETE CASCADE
);
CREATE INDEX user_sessions_by_user ON user_sessions (org_id, user_id);
CREATE INDEX user_sessions_by_end ON user_sessions (expires_at);

-- What each member may enter. An owner or admin enters every project; a member the internal ones, as editor unless the
-- project says otherwise, and the private ones that list the member.
CREATE VIEW member_roles AS
SELECT m.org_id, m.user_id, m.role, CASE WHEN m.role = 'member' THEN coalesce((
    SELECT jsonb_object_agg(p.id, coalesce(pm.role, 'editor')) FROM projects p
    LEFT JOIN project_members pm ON pm.org_id = p.org_id AND pm.project_id = p.id AND pm.user_id = m.user_id
    WHERE p.org_id = m.org_id AND (p.visibility = 'internal' OR pm.role IS NOT NULL)), '{}') END AS projects
FROM org_members m;

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON users TO stoa_tenant
    USING (EXISTS (SELECT FROM org_members m WHERE m.org_id = stoa_org() AND m.user_id = users.id));
GRANT SELECT (id, email, first_name, last_name, timezone, created_at) ON users TO stoa_tenant;

ALTER TABLE org_members ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON org_members TO stoa_tenant USING (org_id = stoa_org());
ALTER TABLE project_members ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON project_members TO stoa_tenant
    USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()));
ALTER TABLE invitations ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON invitations TO stoa_tenant
    USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()));
GRANT SELECT, INSERT, UPDATE, DELETE ON org_members, project_members, invitations TO stoa_tenant;

ALTER TABLE personal_tokens ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON personal_tokens TO stoa_tenant USING (org_id = stoa_org() AND user_id = stoa_user());
GRANT SELECT, INSERT, DELETE ON personal_tokens TO stoa_tenant;
ALTER TABLE user_sessions ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON user_sessions TO stoa_tenant USING (org_id = stoa_org() AND user_id = stoa_user());

-- what belongs to a user --------------------------------------------------------------------------------------------

-- In the order in which writers lock them.
LOCK TABLE conversations, runs, journals, files, deletions IN ACCESS EXCLUSIVE MODE;

-- Rows that a user makes are the user's by default: no statement has to say so. Whatever else belongs to a conversation
-- or a run is reached through these.
ALTER TABLE conversations ADD COLUMN owner_id uuid DEFAULT stoa_user();
ALTER TABLE runs ADD COLUMN owner_id uuid DEFAULT stoa_user();
ALTER TABLE journals ADD COLUMN owner_id uuid DEFAULT stoa_user();
ALTER TABLE files ADD COLUMN owner_id uuid DEFAULT stoa_user();
ALTER TABLE deletions ADD COLUMN owner_id uuid DEFAULT stoa_user();

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['conversations', 'runs', 'journals', 'files'] LOOP
        EXECUTE format(
            'ALTER POLICY tenant ON %I'
            ' USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project()) AND stoa_owns(owner_id))', name);
    END LOOP;
END $$;
ALTER POLICY tenant ON deletions
    USING (org_id = stoa_org() AND (stoa_project() IS NULL OR project_id = stoa_project())
           AND (kind <> 'conversation' OR stoa_owns(owner_id)));

-- Of a user who sees some projects: what is of no project, and the user's own.
CREATE POLICY people ON idempotency_keys TO stoa_tenant
    USING (org_id = stoa_org() AND project_id IS NULL AND scope = stoa_org()::text || '/user:' || stoa_user()::text);

ALTER TABLE audit ADD COLUMN user_id uuid;
CREATE POLICY people ON audit FOR INSERT TO stoa_tenant
    WITH CHECK (org_id = stoa_org() AND project_id IS NULL AND user_id = stoa_user());

-- several projects --------------------------------------------------------------------------------------------------

-- Adds stoa_projects() to every policy that knows stoa_project() alone. It is called after every migration: one that
-- makes a table writes its policy with stoa_project(), as ever. An access key's rows are decided by the first two terms,
-- as before; stoa_projects() is read for the rows that those do not admit.
CREATE FUNCTION widen_policies() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    policy  pg_policies;
    clauses text;
BEGIN
    FOR policy IN
        SELECT * FROM pg_policies
        WHERE schemaname = 'public' AND policyname = 'tenant'
          AND (qual LIKE '%stoa_project()%' AND qual NOT LIKE '%stoa_projects()%'
               OR with_check LIKE '%stoa_project()%' AND with_check NOT LIKE '%stoa_projects()%')
        ORDER BY tablename
    LOOP
        clauses := format('ALTER POLICY tenant ON %I USING (%s)', policy.tablename, widened(policy.qual));
        IF policy.with_check IS NOT NULL THEN
            clauses := clauses || format(' WITH CHECK (%s)', widened(policy.with_check));
        END IF;
        EXECUTE clauses;
    END LOOP;
END $$;

CREATE FUNCTION widened(p_condition text) RETURNS text LANGUAGE sql IMMUTABLE RETURN
    regexp_replace(
        regexp_replace(p_condition, '\((\w+) = stoa_project\(\)\)', '((\1 = stoa_project()) OR (\1 = ANY (stoa_projects())))', 'g'),
        '\((\w+) = \( SELECT stoa_project\(\) AS stoa_project\)\)',
        '((\1 = (SELECT stoa_project())) OR (\1 = ANY (coalesce((SELECT stoa_projects()), ''{}''))))', 'g');
REVOKE ALL ON FUNCTION widen_policies, widened FROM PUBLIC;

-- lists -------------------------------------------------------------------------------------------------------------

-- What the policies say of organization and project, as a condition of constants that an index can serve.
CREATE FUNCTION scope_of_lists() RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp RETURN
    format('org_id = %L', public.stoa_org()) || CASE
        WHEN public.stoa_project() IS NULL THEN ''
        WHEN public.stoa_projects() IS NULL THEN format(' AND project_id = %L', public.stoa_project())
        ELSE format(' AND project_id = ANY (%L)', public.stoa_projects() || public.stoa_project()) END;

-- What they say of conversations and runs beside that.
CREATE FUNCTION owner_of_lists() RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp RETURN
    CASE WHEN public.stoa_user() IS NULL THEN ' AND owner_id IS NULL' ELSE format(' AND owner_id = %L', public.stoa_user()) END;
REVOKE ALL ON FUNCTION scope_of_lists, owner_of_lists FROM PUBLIC;

-- As in 0027, with these conditions. Messages have no owner: page_of_list keeps the conversations that are the caller's.
CREATE OR REPLACE FUNCTION matching_conversations(p_query text, p_hits_max int, OUT ids uuid[], OUT complete boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    org     uuid := public.stoa_org();
    seen    text := public.scope_of_lists();
    words   tsquery := to_tsquery('simple', p_query) && format('''%s%s''', chr(1), org)::tsquery;
BEGIN
    IF org IS NULL THEN
        ids := '{}';
        complete := true;
        RETURN;
    END IF;
    -- EXECUTE: a plan of its own for each query. The statement of a function would soon be planned for any query, and
    -- then read whole tables.
    EXECUTE format($query$
        WITH hits AS MATERIALIZED (
            SELECT conversation_id, position FROM messages
            WHERE search_words(search, org_id) @@ $1 AND %1$s LIMIT $3
        ), titles AS MATERIALIZED (
            SELECT id FROM conversations
            WHERE search_words(search, org_id) @@ $1 AND %2$s LIMIT $3
        )
        SELECT coalesce(array_agg(id), '{}'), (SELECT count(*) FROM hits) < $3 AND (SELECT count(*) FROM titles) < $3
        FROM (
            SELECT conversation_id AS id FROM hits
            UNION SELECT s.conversation_id FROM hits h
            JOIN conversation_segments s ON s.org_id = $2 AND s.source_id = h.conversation_id
                AND h.position BETWEEN s.first_position AND s.last_position
            UNION SELECT id FROM titles
        ) found
    $query$, seen, seen || public.owner_of_lists()) INTO ids, complete USING words, org, p_hits_max;
END $$;

CREATE OR REPLACE FUNCTION page_of_list(p_asked jsonb, OUT ids uuid[], OUT total bigint, OUT estimated boolean)
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
    scope     text := public.scope_of_lists() || public.owner_of_lists();
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
