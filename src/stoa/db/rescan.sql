-- name: columns
-- Every column of every table of ours that holds ids: whether rows belong to an organization, and whether an index
-- leads to the column; a partial one
-- does where it leaves out nothing but NULL. Partitions are read through their parents.
SELECT format('%I', c.relname) AS "table", format('%I', a.attname) AS "column", a.atttypid = 'uuid[]'::regtype AS many,
       EXISTS (SELECT 1 FROM pg_attribute o WHERE o.attrelid = c.oid AND o.attname = 'org_id'
           AND NOT o.attisdropped) AS scoped,
       EXISTS (
           SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid
             AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', a.attname)) AND (
               i.indkey[0] = a.attnum
               OR i.indkey[1] = a.attnum AND i.indkey[0] = (SELECT attnum FROM pg_attribute WHERE attrelid = c.oid
                   AND attname = 'org_id'))
       ) AS indexed
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid IN ('uuid'::regtype, 'uuid[]'::regtype)
  AND a.attname NOT IN ('org_id', 'project_id') AND c.relname <> ALL ($1::text[])
ORDER BY c.relname, a.attnum;
