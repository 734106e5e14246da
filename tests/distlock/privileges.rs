//! Who may do what on a lock server: every role that the documentation makes, against everything that it must not do.

use std::time::Duration;

use expgsql::distlock::{LockError, Made, Renewal, Service, Taken};

use crate::server::{Server, service, soon, wish};

/// The table, its functions and its triggers as `init` made them before there were roles of locks.
const BEFORE: &str = r#"
create table distlock (lockname text primary key, owner text not null, ts timestamptz not null, expired_time interval not null,
  epoch bigint not null default 0, eligible text[], reports int not null default 1, system text, last_owner text);
create table distlock_history (id serial primary key, lockname text not null, owner text not null, ts timestamptz not null,
  expired_time interval not null, epoch bigint, eligible text[], reports int);
create function distlock_before_update() returns trigger language plpgsql as $fn$
begin
  if new.owner <> old.owner and new.owner <> '' then
    if new.epoch = old.epoch then
      new.epoch := old.epoch + 1; new.eligible := null; new.reports := 1;
    end if;
    new.last_owner := new.owner;
  end if;
  return new;
end $fn$;
create function distlock_log() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $fn$
begin
  if tg_op = 'INSERT' or new.owner <> old.owner or new.epoch <> old.epoch
     or new.eligible is distinct from old.eligible or new.reports <> old.reports then
    execute format('insert into %I.%I (lockname, owner, ts, expired_time, epoch, eligible, reports)
                    values ($1, $2, $3, $4, $5, $6, $7)', tg_table_schema, tg_table_name || '_history')
    using new.lockname, new.owner, new.ts, new.expired_time, new.epoch, new.eligible, new.reports;
  end if;
  return null;
end $fn$;
create trigger distlock_before_update before update on distlock for each row execute function distlock_before_update();
create trigger distlock_log after insert or update on distlock for each row execute function distlock_log();
insert into distlock (lockname, owner, ts, expired_time) values ('pgsql', '', now(), interval '-1 second');
grant select, update on distlock to agent;
grant select on distlock_history to agent;
"#;

/// A table of the role's own, on which it hangs the history's trigger.
const OWN_TABLE: &str = "
create temporary table a (like public.distlock);
create temporary table a_history (like public.distlock_history including defaults);
alter table a_history alter column id drop default, alter column id drop not null;
";
const HANG_IT_ON: &str =
    "create trigger own after insert on a for each row execute function public.distlock_log()";
const TO_SUPERUSER: &str = "
create function pg_temp.become() returns trigger language plpgsql as $$
begin execute 'alter role agent superuser'; return null; end $$;
create trigger become after insert on a_history execute function pg_temp.become();
";
const FIRE: &str = "insert into a (lockname, owner, ts, expired_time, epoch, reports)
  values ('pgsql', 'forged', now(), '1 s', 7, 1)";

fn is_superuser(server: &Server) -> bool {
    server.sql("select rolsuper from pg_roles where rolname = 'agent'") == "t"
}

#[test]
fn a_table_of_before_makes_nobody_superuser_once_init_has_run() {
    let server = Server::start();
    server.sql(BEFORE);
    let attack = format!("{OWN_TABLE}{TO_SUPERUSER}{HANG_IT_ON};{FIRE}");
    server.sql_as("agent", &attack).unwrap();
    assert!(is_superuser(&server), "the story is another one");
    server.sql("alter role agent nosuperuser");
    // What was hung somewhere before goes on firing.
    server.sql(
        "create schema of_agent authorization agent; create schema authorization agent; \
         grant usage on schema of_agent to public",
    );
    server
        .sql_as(
            "agent",
            &format!(
                "{}{}{}",
                OWN_TABLE
                    .replace("temporary table ", "table of_agent.")
                    .replace("alter table ", "alter table of_agent."),
                TO_SUPERUSER
                    .replace("pg_temp.", "of_agent.")
                    .replace("on a_", "on of_agent.a_"),
                HANG_IT_ON.replace("on a ", "on of_agent.a ")
            ),
        )
        .unwrap();

    server.service().init(false, soon()).unwrap();

    let changes = server.sql("select count(*) from distlock_history");
    let fire = FIRE.replace("into a", "into of_agent.a");
    for attack in [attack.as_str(), &format!("{OWN_TABLE}{HANG_IT_ON}"), &fire] {
        let refused = server.sql_as("agent", attack).unwrap_err();
        assert!(!is_superuser(&server), "{attack}");
        let why = ["permission denied", "for another table"];
        assert!(why.iter().any(|why| refused.contains(why)), "{refused}");
    }
    assert_eq!(server.sql("select count(*) from distlock_history"), changes);

    // And the site works as before, with the role and the grants that it has.
    let lock = server.service_of("agent");
    let taken = lock.take(&wish("node1"), soon());
    assert!(
        matches!(taken, Ok(Taken::Mine { epoch: 1, .. })),
        "{taken:?}"
    );
    let renewed = lock.renew("pgsql_node1", 1, Duration::from_secs(60), soon());
    assert!(matches!(renewed, Ok(Renewal::Mine(_))), "{renewed:?}");
    assert_eq!(lock.release("pgsql_node1", Some(1), soon()), Ok(true));
    assert_eq!(lock.history(9, soon()).unwrap().len(), 3);
    assert_eq!(
        lock.plain_lock("x", Duration::from_secs(9), soon()),
        Ok(true)
    );
}

/// What docs/lock-service.md has to be typed on a new lock server.
fn documented() -> String {
    let page = include_str!("../../docs/lock-service.md");
    let block = page.split("```sql\n").nth(1).expect("a block of SQL");
    let block = block.split("```").next().expect("its end");
    assert!(block.contains("create role expgsql_lock"), "{block}");
    block.replace('…', "zq7x")
}

/// A lock server as documented, with the clusters `orders` and `billing`, and one whose role and rights are those that were
/// documented before.
fn lock_server() -> Server {
    let server = Server::start();
    let sql = documented();
    server.script(&sql);
    server.script(
        "create role billing login password 'zq7x'; create role stranger login password 'zq7x';
         grant connect on database ha to billing, agent",
    );
    let owner = at(&server, "postgres options=-crole=expgsql_lock");
    for role in ["orders", "billing"] {
        let lock = service(&owner, role);
        assert_eq!(lock.init(false, soon()), Ok(Made::New));
        lock.bind(role, soon()).unwrap();
        // Again, as after an update of the program.
        assert!(matches!(lock.init(false, soon()), Ok(Made::Kept(_))));
        assert_eq!(lock.role(soon()).unwrap().as_deref(), Some(role));
    }
    service(&owner, "old").init(false, soon()).unwrap();
    server.script(
        "\\connect ha\ngrant select, update on distlock to agent; grant select on distlock_history to agent",
    );
    server
}

fn at(server: &Server, user: &str) -> String {
    server.conninfo().replace(
        "user=postgres dbname=postgres",
        &format!("user={user} password=zq7x dbname=ha"),
    )
}

/// What is tried, and the roles of `orders billing agent` that may.
const TRIED: [(&str, [bool; 3]); 41] = {
    const NOBODY: [bool; 3] = [false; 3];
    const ITS_ROLE: [bool; 3] = [true, false, false];
    const BOTH: [bool; 3] = [true, true, false];
    const ALL: [bool; 3] = [true; 3];
    [
        // Its own row, as the agent and pha4pgsql's script use it.
        ("select 1 from distlock where lockname = 'orders'", ITS_ROLE),
        (
            "select 1 from distlock_history where lockname = 'orders'",
            ITS_ROLE,
        ),
        (
            "update distlock set owner = 'x', last_owner = 'x', ts = now(), expired_time = '9 s', epoch = 7, eligible = '{x}', \
          reports = 1, system = '7' where lockname = 'orders' returning 1",
            ITS_ROLE,
        ),
        (
            "update distlock set owner = 'x', ts = now(), expired_time = '9 s' where lockname = 'orders' returning 1",
            ITS_ROLE,
        ),
        (
            "select 1 from distlock where lockname = 'orders' for update",
            ITS_ROLE,
        ),
        (
            "update distlock set owner = 'x' where lockname = 'billing' returning 1",
            [false, true, false],
        ),
        // A row that was made before there were roles: all see it, and who has the rights of then uses it.
        ("select 1 from distlock where lockname = 'old'", ALL),
        (
            "update distlock set owner = 'x' where lockname = 'old' returning 1",
            [false, false, true],
        ),
        (
            "select 1 from distlock where lockname = 'old' for update",
            [false, false, true],
        ),
        // Rows come, go and change hands by the owner alone.
        (
            "update distlock set lockname = 'mine' where lockname in ('orders', 'old') returning 1",
            NOBODY,
        ),
        (
            "update distlock set role = null where lockname in ('orders', 'billing') returning 1",
            NOBODY,
        ),
        (
            "update distlock set role = 'agent'::regrole returning 1",
            NOBODY,
        ),
        (
            "insert into distlock (lockname, owner, ts, expired_time) values ('new', '', now(), '1 s') returning 1",
            NOBODY,
        ),
        (
            "insert into distlock (lockname, owner, ts, expired_time) values ('orders', 'x', now(), '1 s') \
          on conflict (lockname) do update set owner = 'x' returning 1",
            NOBODY,
        ),
        ("delete from distlock returning 1", NOBODY),
        ("truncate distlock; select 1", NOBODY),
        (
            "copy distlock (lockname, owner, ts, expired_time) from program 'echo'; select 1",
            NOBODY,
        ),
        (
            "begin; lock table distlock in access exclusive mode; select 1",
            [false, false, true],
        ),
        (
            "begin; lock table distlock_history in share mode; select 1",
            NOBODY,
        ),
        // The history is written by what it tells of.
        (
            "insert into distlock_history (lockname, owner, ts, expired_time) values ('orders', 'x', now(), '1 s') returning 1",
            NOBODY,
        ),
        (
            "insert into distlock_history (id, lockname, owner, ts, expired_time) values (0, 'orders', 'x', now(), '1 s') \
          returning 1",
            NOBODY,
        ),
        (
            "update distlock_history set owner = 'x' returning 1",
            NOBODY,
        ),
        ("delete from distlock_history returning 1", NOBODY),
        ("truncate distlock_history; select 1", NOBODY),
        ("select nextval('distlock_history_id_seq')", NOBODY),
        ("select setval('distlock_history_id_seq', 1)", NOBODY),
        // Nothing else is changed, made or become.
        (
            "create trigger t before update on distlock for each row execute function distlock_log(); select 1",
            NOBODY,
        ),
        (
            "alter table distlock disable row level security; select 1",
            NOBODY,
        ),
        ("drop policy distlock_write on distlock; select 1", NOBODY),
        ("alter table distlock disable trigger all; select 1", NOBODY),
        ("set session_replication_role = replica; select 1", NOBODY),
        (
            "create or replace function distlock_log() returns trigger language plpgsql as 'begin end'; select 1",
            NOBODY,
        ),
        ("create table t (); select 1", NOBODY),
        ("create temporary table t (); select 1", NOBODY),
        ("create schema s; select 1", NOBODY),
        (
            "create function f() returns int language sql as 'select 1'; select 1",
            NOBODY,
        ),
        ("set role expgsql_lock; select 1", NOBODY),
        ("create role r; select 1", NOBODY),
        ("select 1 from pg_read_file('postgresql.conf')", NOBODY),
        // What they may do without asking, so that the table is seen to work.
        (
            "set row_security = off; select 1 from distlock limit 1",
            NOBODY,
        ),
        (
            "select distinct 1 from distlock where role is not null",
            BOTH,
        ),
    ]
};

#[test]
fn every_role_does_its_own_work_and_nothing_else() {
    let server = lock_server();
    let before = everything(&server);
    for (sql, who) in TRIED {
        for (role, may) in ["orders", "billing", "agent"].into_iter().zip(who) {
            let found = server.sql_at("ha", role, &format!("begin; {sql}; rollback"));
            let did = found.as_ref().is_ok_and(|out| !out.is_empty());
            assert_eq!(did, may, "{role}: {sql}: {found:?}");
        }
    }
    let refused = server.sql_at("ha", "stranger", "select 1").unwrap_err();
    assert!(refused.contains("CONNECT privilege"), "{refused}");
    let refused = server.sql_at("ha", "expgsql_lock", "select 1").unwrap_err();
    assert!(refused.contains("not permitted to log in"), "{refused}");
    assert_eq!(everything(&server), before);
}

fn everything(server: &Server) -> String {
    let sql = "select array(select t::text from distlock t), array(select t::text from distlock_history t), \
               array(select r::text from pg_roles r)";
    server.sql_at("ha", "postgres", sql).unwrap()
}

fn takes_and_gives_back(lock: &Service) {
    let taken = lock.take(&wish("node1"), soon()).unwrap();
    let Taken::Mine { epoch, .. } = taken else {
        panic!("{taken:?}");
    };
    let minute = Duration::from_secs(60);
    let renewed = lock.renew("pgsql_node1", epoch, minute, soon());
    assert!(matches!(renewed, Ok(Renewal::Mine(_))), "{renewed:?}");
    assert_eq!(lock.release("pgsql_node1", Some(epoch), soon()), Ok(true));
    let history = lock.history(2, soon()).unwrap();
    let owners: Vec<&str> = history.iter().map(|one| one.owner.as_str()).collect();
    assert_eq!(owners, ["", "pgsql_node1"]);
}

#[test]
fn the_agent_works_with_each_documented_role_and_not_on_anothers_lock() {
    let server = lock_server();
    for (role, lock) in [
        ("orders", "orders"),
        ("billing", "billing"),
        ("agent", "old"),
    ] {
        takes_and_gives_back(&service(&at(&server, role), lock));
    }
    for (role, lock) in [("orders", "billing"), ("agent", "orders")] {
        let lock = service(&at(&server, role), lock);
        let taken = lock.take(&wish("node1"), soon()).unwrap_err();
        assert!(matches!(taken, LockError::RowMissing(_)), "{taken}");
        assert_eq!(lock.history(9, soon()).unwrap(), []);
        let made = lock.init(true, soon()).unwrap_err();
        assert!(matches!(made, LockError::NotWritable(_)), "{made}");
    }
    // A role that is gone takes nobody else's lock with it.
    server.script("\\connect ha\ndrop owned by billing; drop role billing");
    takes_and_gives_back(&service(&at(&server, "orders"), "orders"));
}

#[test]
fn a_role_of_before_gets_its_row_and_gives_up_the_rest() {
    let server = Server::start();
    // As pha4pgsql's roles had it, and more.
    server.sql(BEFORE);
    server.sql(
        "grant insert, delete, truncate, trigger on distlock to agent; grant insert, delete on distlock_history to agent; \
         grant usage, update on sequence distlock_history_id_seq to agent",
    );
    let lock = server.service();
    lock.init(false, soon()).unwrap();
    assert_eq!(lock.role(soon()), Ok(None));
    takes_and_gives_back(&server.service_of("agent"));
    let may = |what: &str| server.sql(&format!("select {what}")) == "t";
    assert!(may("has_table_privilege('agent', 'distlock', 'update')"));
    for (table, privileges) in [
        ("distlock", "insert, delete, truncate, trigger, references"),
        (
            "distlock_history",
            "insert, update, delete, truncate, trigger, references",
        ),
    ] {
        assert!(
            !may(&format!(
                "has_table_privilege('agent', '{table}', '{privileges}')"
            )),
            "{table}"
        );
    }
    assert!(!may(
        "has_sequence_privilege('agent', 'distlock_history_id_seq', 'usage, update')"
    ));
    lock.bind("agent", soon()).unwrap();
    assert_eq!(lock.role(soon()).unwrap().as_deref(), Some("agent"));
    assert!(!may("has_table_privilege('agent', 'distlock', 'update')"));
    takes_and_gives_back(&server.service_of("agent"));
}

#[test]
fn init_runs_nothing_that_a_role_which_logs_in_has_prepared() {
    let server = Server::start();
    server.sql(
        "grant create, usage on schema public to agent; alter role agent set search_path = public",
    );
    // A table that waits for somebody with more rights.
    server
        .sql_as(
            "agent",
            "create table distlock (lockname text primary key, owner text not null, ts timestamptz not null, \
               expired_time interval not null); \
             create function trap() returns trigger language plpgsql as $$ begin \
               execute 'alter role agent superuser'; return new; end $$; \
             create trigger trap before insert on distlock for each row execute function trap()",
        )
        .unwrap();
    let refused = server.service().init(false, soon()).unwrap_err();
    assert!(
        refused.to_string().contains("run init as that role"),
        "{refused}"
    );
    assert!(!is_superuser(&server));
    server.sql("drop table distlock cascade");
    // A function that somebody else made stays nobody else's.
    server
        .sql_as(
            "agent",
            "create function distlock_log() returns trigger language plpgsql as 'begin return new; end'",
        )
        .unwrap();
    server.service().init(false, soon()).unwrap();
    let owner = "select pg_get_userbyid(proowner) || ' ' || proacl::text from pg_proc where proname = 'distlock_log'";
    assert_eq!(server.sql(owner), "postgres {postgres=X/postgres}");
}

#[test]
fn a_site_whose_role_owns_the_table_goes_on_and_is_mended_by_that_role() {
    let server = Server::start();
    server.sql("grant create, usage on schema public to agent");
    let lock = server.service_of("agent");
    assert_eq!(lock.init(false, soon()), Ok(Made::New));
    takes_and_gives_back(&lock);
    assert!(matches!(lock.init(false, soon()), Ok(Made::Kept(_))));
    let by_other = server.service().init(false, soon()).unwrap_err();
    assert!(matches!(by_other, LockError::NotWritable(_)), "{by_other}");
    takes_and_gives_back(&lock);
}
