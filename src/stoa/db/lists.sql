-- name: page_of_list
-- The ids of a page, and how many items the list has (migration 0027).
SELECT ids, total, estimated FROM page_of_list($1);
