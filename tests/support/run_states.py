"""The state table of runs, enforced in every database of the tests: a transition that is not in MOVES fails the
statement that makes it."""

from stoa.runs.rules import MOVES

OFF = "SET session_replication_role = replica"
"""For a connection that deliberately violates invariants."""


def guard() -> str:
    moves = ", ".join(f"'{before.value} {after.value}'" for before, allowed in MOVES.items() for after in allowed)
    return f"""
    CREATE FUNCTION check_run_state() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' AND coalesce(current_setting('stoa.importing', true), '') <> ''  THEN
            RETURN NEW;  -- It went through these states on the server that exported it.
        ELSIF TG_OP = 'INSERT' AND NEW.status NOT IN ('created', 'started') THEN
            RAISE 'a run began as %', NEW.status USING ERRCODE = 'check_violation';
        ELSIF TG_OP = 'UPDATE' AND NEW.status <> OLD.status
            AND OLD.status || ' ' || NEW.status <> ALL (ARRAY[{moves}]) THEN
            RAISE 'a run went from % to %', OLD.status, NEW.status USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER check_run_state BEFORE INSERT OR UPDATE OF status ON runs
        FOR EACH ROW EXECUTE FUNCTION check_run_state();
    """
