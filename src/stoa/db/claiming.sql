-- name: claimable
-- Of all tenants. The jobs that a claim takes, at most $2, for `leases.claiming`, which fills in the table and the
-- status of a job at work. First those of dead nodes, those whose lease has expired, and those of node $1 that it does
-- not work on ($7 is what it works on). Then pending ones that are due, one project after another, beginning after
-- project $6. $3 are projects with jobs on this node, $4 how many more each may have, $5 the same for every other
-- project.
WITH RECURSIVE lost AS (
    SELECT j.org_id, j.id FROM {jobs} j
    WHERE j.status = '{working}' AND (j.node_id <> $1 OR j.id <> ALL ($7::uuid[]))
      AND (j.deadline < now() OR j.node_id = $1 OR j.node_id NOT IN (SELECT id FROM living_nodes))
    ORDER BY j.deadline LIMIT $2 FOR UPDATE SKIP LOCKED
), projects AS (
    SELECT $6::uuid AS project_id, false AS found, false AS wrapped, 0 AS turn
    UNION ALL
    SELECT coalesce(n.project_id, '00000000-0000-0000-0000-000000000000'), n.project_id IS NOT NULL,
           p.wrapped OR n.project_id IS NULL, p.turn + 1
    FROM projects p LEFT JOIN LATERAL (
        SELECT j.project_id FROM {jobs} j
        WHERE j.status = 'pending' AND j.project_id > p.project_id ORDER BY j.project_id LIMIT 1
    ) n ON true
    WHERE NOT p.wrapped OR n.project_id <= $6
), roomy AS (
    SELECT p.project_id, p.turn, coalesce(here.room, $5::int) AS room
    FROM projects p LEFT JOIN unnest($3::uuid[], $4::int[]) AS here(project_id, room) ON here.project_id = p.project_id
    WHERE p.found AND coalesce(here.room, $5::int) > 0
      AND EXISTS (SELECT 1 FROM {jobs} j
                  WHERE j.status = 'pending' AND j.project_id = p.project_id AND j.not_before <= now())
    LIMIT $2
), waiting AS (
    SELECT w.org_id, w.id, p.turn,
           row_number() OVER (PARTITION BY p.project_id ORDER BY w.not_before) AS turn_of_project
    FROM roomy p CROSS JOIN LATERAL (
        SELECT j.org_id, j.id, j.not_before FROM {jobs} j
        WHERE j.status = 'pending' AND j.project_id = p.project_id AND j.not_before <= now()
        ORDER BY j.not_before LIMIT least(p.room, $2) FOR UPDATE SKIP LOCKED) w
)
(SELECT org_id, id FROM lost UNION ALL (SELECT org_id, id FROM waiting ORDER BY turn_of_project, turn)) LIMIT $2;
