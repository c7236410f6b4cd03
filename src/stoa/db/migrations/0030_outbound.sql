-- What an approval request's arguments must satisfy, so that edited arguments are checked before the request is used up;
-- and the certificate authority of a connection, beside the system's. Like other content, neither gets into the planner's statistics.
ALTER TABLE input_requests ADD COLUMN schema jsonb;
ALTER TABLE input_requests ALTER COLUMN schema SET STATISTICS 0;
ALTER TABLE connections ADD COLUMN ca_certificate text;
ALTER TABLE connections ALTER COLUMN ca_certificate SET STATISTICS 0;
