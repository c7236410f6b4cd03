-- Tables of vectors that large indexes were given since the migration before this one had a policy that knows one project, and none of several:
-- whoever sees some projects of an organization found nothing in them by meaning. The function below runs after each migration (0036), and so
-- after this one; new tables have the whole policy.
COMMENT ON FUNCTION widen_policies() IS 'Has the policies of all tables admit several projects. Called after each migration.';
