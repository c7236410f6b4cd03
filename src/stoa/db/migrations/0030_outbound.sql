-- What an approval request's arguments must satisfy, so that edited arguments are checked before the request is used up.
-- Like other content it does not get into the planner's statistics.
ALTER TABLE input_requests ADD COLUMN schema jsonb;
ALTER TABLE input_requests ALTER COLUMN schema SET STATISTICS 0;
