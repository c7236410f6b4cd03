-- Sums of the bill over all projects of an organization (docs/decisions/0100): a report by day or by model reads one row
-- per day and model, not one more for each project and key. And how long a project keeps conversations.

-- Every hour before `totals_until` is in usage_totals.
ALTER TABLE usage_progress ADD COLUMN totals_until timestamptz NOT NULL DEFAULT '1970-01-01T00:00:00Z';

CREATE TABLE usage_totals (
    org_id            uuid NOT NULL,
    width             text NOT NULL CHECK (width IN ('hour', 'day')),
    starts_at         timestamptz NOT NULL,
    keyed             boolean NOT NULL,                 -- by key, or of all keys
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
    first_id          bigint NOT NULL,
    UNIQUE NULLS NOT DISTINCT (org_id, keyed, width, starts_at, key_id, model, kind)
);
ALTER TABLE usage_totals ALTER COLUMN model SET STATISTICS 0;    -- as in 0011
-- Who sees some projects alone sees none of it.
ALTER TABLE usage_totals ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON usage_totals TO stoa_tenant
    USING (org_id = (SELECT stoa_org()) AND (SELECT stoa_project()) IS NULL AND (SELECT stoa_projects()) IS NULL);
GRANT SELECT ON usage_totals TO stoa_tenant;

-- As in 0027, and the totals follow too. The caller holds usage_progress.
CREATE OR REPLACE FUNCTION add_usage(p_line model_calls, p_sign int) RETURNS void LANGUAGE sql AS $$
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
        first_id = least(s.first_id, excluded.first_id);
    INSERT INTO usage_totals AS t
    SELECT p_line.org_id, width, date_trunc(width, p_line.at, 'UTC'), keyed, CASE WHEN keyed THEN p_line.key_id END,
        p_line.model, p_line.kind,
        p_sign, p_sign * p_line.prompt_tokens, p_sign * p_line.cached_tokens, p_sign * p_line.completion_tokens,
        p_sign * p_line.reasoning_tokens, p_sign * coalesce(p_line.cost_usd, 0), p_sign * p_line.estimated::int,
        p_sign * (p_line.cost_usd IS NULL)::int, p_line.id
    FROM unnest(ARRAY['hour', 'day']) AS width CROSS JOIN unnest(ARRAY[false, true]) AS keyed
    WHERE p_line.at < (SELECT totals_until FROM usage_progress)
    ON CONFLICT (org_id, keyed, width, starts_at, key_id, model, kind) DO UPDATE SET
        calls = t.calls + excluded.calls, prompt_tokens = t.prompt_tokens + excluded.prompt_tokens,
        cached_tokens = t.cached_tokens + excluded.cached_tokens,
        completion_tokens = t.completion_tokens + excluded.completion_tokens,
        reasoning_tokens = t.reasoning_tokens + excluded.reasoning_tokens, cost_usd = t.cost_usd + excluded.cost_usd,
        estimated_calls = t.estimated_calls + excluded.estimated_calls,
        unpriced_calls = t.unpriced_calls + excluded.unpriced_calls,
        first_id = least(t.first_id, excluded.first_id)
$$;

-- Conversations in which nothing has happened for so many days are deleted; NULL: never.
ALTER TABLE projects ADD COLUMN retention_days double precision CHECK (retention_days > 0);
DROP TRIGGER captured ON projects;
DROP TRIGGER captured_update ON projects;
CREATE TRIGGER captured AFTER INSERT OR DELETE ON projects FOR EACH ROW
    EXECUTE FUNCTION capture_change('id', 'name,description,visibility,retention_days', '');
CREATE TRIGGER captured_update AFTER UPDATE OF name, description, visibility, retention_days ON projects FOR EACH ROW
    EXECUTE FUNCTION capture_change('id', 'name,description,visibility,retention_days', '');

-- Large tables are swept in small portions, also by a PostgreSQL whose own settings wait until a fifth is dead.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['conversations', 'messages', 'runs', 'events', 'model_calls', 'tool_calls', 'spans', 'traces'] LOOP
        EXECUTE format('ALTER TABLE %I SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)', name);
    END LOOP;
END $$;
