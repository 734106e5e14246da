//! The statements that make the lock's table, and what each role may do with it. Each may be run again.
//!
//! Whoever uses a lock reads and renews its own row, and nothing else: it writes no history, locks nobody else's row, and
//! finds nothing that runs with more rights than its own. Every name is qualified, and all that runs with the owner's rights
//! names what it works on: a trigger function that asks what it hangs on can be hung on anything.

use crate::model::lock_place::{Place, identifier};
use crate::postgres::session::literal;

/// What a role has to change to use a lock.
const WRITTEN: &str = "owner, ts, expired_time, epoch, eligible, reports, system, last_owner";

/// Makes everything, or mends it. `place` must name its schema.
pub(super) fn structure(place: &Place) -> String {
    let parts = [
        safe_session(),
        tables(place),
        trusted_owner(place),
        columns(place),
        old_triggers(place),
        before_update(place),
        log(place),
        triggers(place),
        rights(place),
        rows_of_roles(place),
    ];
    parts.join("; ")
}

/// Nothing here is looked up where others may put something.
pub(super) fn safe_session() -> String {
    "set local client_min_messages = warning; set local search_path = pg_catalog, pg_temp"
        .to_owned()
}

fn block(body: &str) -> String {
    format!("do {}", literal(body))
}

fn tables(place: &Place) -> String {
    let (table, history) = (place.table(), place.qualified("_history"));
    let schema = identifier(place.schema().unwrap_or_default());
    // Not `if not exists`: that needs the right to create one even where it is there.
    let make_schema = block(&format!(
        "begin if to_regnamespace({}) is null then create schema {schema}; end if; end",
        literal(&schema)
    ));
    format!(
        "{make_schema};
         create table if not exists {table} (
           lockname text primary key, owner text not null, ts timestamptz not null, expired_time interval not null);
         create table if not exists {history} (
           id serial primary key, lockname text not null, owner text not null, ts timestamptz not null, \
           expired_time interval not null);
         lock table {table} in access exclusive mode"
    )
}

/// A table of somebody who logs in may have triggers, defaults and rules of theirs, which what follows would run with this
/// session's rights.
fn trusted_owner(place: &Place) -> String {
    block(&format!(
        "declare o record; begin
           for o in select c.oid::regclass as name, r.rolname from pg_class c join pg_roles r on r.oid = c.relowner
                     where c.oid in ({}::regclass, {}::regclass)
                       and r.rolcanlogin and not r.rolsuper and r.rolname <> current_user
           loop
             raise exception '% belongs to the role %, which can log in: run init as that role, or give the table to a role \
                              that can not (alter table … owner to …)', o.name, o.rolname
               using errcode = 'insufficient_privilege';
           end loop;
         end",
        literal(&place.table()),
        literal(&place.qualified("_history")),
    ))
}

/// Nobody takes or renews the lock while the table is half of each form.
fn columns(place: &Place) -> String {
    let (table, history) = (place.table(), place.qualified("_history"));
    format!(
        "alter table {table} add column if not exists epoch bigint not null default 0;
         alter table {table} add column if not exists eligible text[];
         alter table {table} add column if not exists reports int not null default 1;
         alter table {table} add column if not exists system text;
         alter table {table} add column if not exists last_owner text;
         alter table {table} add column if not exists role regrole;
         alter table {history} add column if not exists epoch bigint;
         alter table {history} add column if not exists eligible text[];
         alter table {history} add column if not exists reports int;
         alter table {history} add column if not exists role regrole"
    )
}

/// pha4pgsql's trigger, whatever it is called, would write each change a second time.
fn old_triggers(place: &Place) -> String {
    let table = literal(&place.table());
    block(&format!(
        "declare t record; begin
           for t in select tgname from pg_trigger g join pg_proc p on p.oid = g.tgfoid
                     where g.tgrelid = {table}::regclass and not g.tgisinternal
                       and p.prosrc ilike '%distlock_history%' and g.tgname not in ({}, {})
           loop execute format('drop trigger %I on %s', t.tgname, {table}); end loop;
         end",
        literal(&format!("{}_log", place.table_name())),
        literal(&format!("{}_before_update", place.table_name())),
    ))
}

fn before_update(place: &Place) -> String {
    let body = "
        begin
          -- A role that has UPDATE on the whole table could give its row another name, or another role's row to itself.
          if (new.lockname <> old.lockname or new.role is distinct from old.role)
             and not pg_has_role((select relowner from pg_class where oid = tg_relid), 'usage') then
            raise exception 'only the owner of the table changes the name and the role of a lock'
              using errcode = 'insufficient_privilege';
          end if;
          -- pha4pgsql's script knows no epoch: a change of owner is one all the same, and what the row says of
          -- standbys that may be promoted is not about the new primary.
          if new.owner <> old.owner and new.owner <> '' then
            if new.epoch = old.epoch then
              new.epoch := old.epoch + 1;
              new.eligible := null;
              new.reports := 1;
            end if;
            new.last_owner := new.owner;
          end if;
          return new;
        end";
    format!(
        "create or replace function {}() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as {}",
        place.qualified("_before_update"),
        literal(body)
    )
}

/// With the rights of the table's owner, because who uses a lock must not be able to write its history otherwise. It runs for
/// this table only: a trigger that somebody made of it earlier, on a table of theirs, goes on firing whatever is revoked.
fn log(place: &Place) -> String {
    let body = format!(
        "
        begin
          if tg_relid <> {}::regclass then
            raise exception 'this trigger is for another table' using errcode = 'insufficient_privilege';
          end if;
          if tg_op = 'INSERT' or new.owner <> old.owner or new.epoch <> old.epoch
             or new.eligible is distinct from old.eligible or new.reports <> old.reports then
            insert into {} (lockname, owner, ts, expired_time, epoch, eligible, reports, role)
            values (new.lockname, new.owner, new.ts, new.expired_time, new.epoch, new.eligible, new.reports, new.role);
          end if;
          return null;
        end",
        literal(&place.table()),
        place.qualified("_history"),
    );
    format!(
        "create or replace function {}() returns trigger language plpgsql security definer
         set search_path = pg_catalog, pg_temp as {}",
        place.qualified("_log"),
        literal(&body)
    )
}

fn triggers(place: &Place) -> String {
    let table = place.table();
    let name = |suffix: &str| identifier(&format!("{}{suffix}", place.table_name()));
    let (before, log) = (name("_before_update"), name("_log"));
    format!(
        "drop trigger if exists {before} on {table};
         create trigger {before} before update on {table} for each row execute function {}();
         drop trigger if exists {log} on {table};
         create trigger {log} after insert or update on {table} for each row execute function {}()",
        place.qualified("_before_update"),
        place.qualified("_log"),
    )
}

/// One owner for all of it, and nobody else makes anything of the functions, of the table or of the history: a trigger fires
/// without EXECUTE, the history is written by the trigger alone, and pha4pgsql's roles had to write it themselves.
fn rights(place: &Place) -> String {
    let (table, history) = (
        literal(&place.table()),
        literal(&place.qualified("_history")),
    );
    let function = |suffix: &str| literal(&format!("{}()", place.qualified(suffix)));
    let to = "case g.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end";
    block(&format!(
        "declare o oid; f record; g record; begin
           select relowner into o from pg_class where oid = {table}::regclass;
           if o <> (select relowner from pg_class where oid = {history}::regclass) then
             execute format('alter table %s owner to %I', {history}, pg_get_userbyid(o));
           end if;
           for f in select p.oid::regprocedure as name, p.proowner from pg_proc p
                     where p.oid in ({}::regprocedure, {}::regprocedure) loop
             if f.proowner <> o then
               execute format('alter function %s owner to %I', f.name, pg_get_userbyid(o));
             end if;
             for g in select distinct a.grantee from pg_proc p,
                             aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                       where p.oid = f.name and a.grantee <> o loop
               execute format('revoke all on function %s from %s cascade', f.name, {to});
             end loop;
           end loop;
           for g in select distinct c.oid = {table}::regclass as is_table, a.grantee from pg_class c, aclexplode(c.relacl) a
                     where c.oid in ({table}::regclass, {history}::regclass) and a.grantee <> o loop
             if g.is_table then
               execute format('revoke insert, delete, truncate, references, trigger on %s from %s cascade', {table}, {to});
             else
               execute format('revoke insert, update, delete, truncate, references, trigger on %s from %s cascade', \
                              {history}, {to});
             end if;
           end loop;
           for g in select distinct c.oid::regclass as name, a.grantee
                      from pg_depend d join pg_class c on c.oid = d.objid and c.relkind = 'S', aclexplode(c.relacl) a
                     where d.classid = 'pg_class'::regclass and d.refobjid = {history}::regclass and a.grantee <> o loop
             execute format('revoke all on sequence %s from %s cascade', g.name, {to});
           end loop;
         end",
        function("_before_update"),
        function("_log"),
    ))
}

/// A row that has a role is that role's. One that has none, as all that were made before there were roles, is changed by those
/// who have UPDATE on the whole table: a role that was given its row by `init --role` has it on columns only.
fn rows_of_roles(place: &Place) -> String {
    let (table, history) = (place.table(), place.qualified("_history"));
    let policy = |suffix: &str| identifier(&format!("{}{suffix}", place.table_name()));
    let (read, write) = (policy("_read"), policy("_write"));
    format!(
        "drop policy if exists {read} on {table};
         create policy {read} on {table} for select using (role is null or pg_has_role(role::oid, 'usage'));
         drop policy if exists {write} on {table};
         create policy {write} on {table} for update using (
           case when role is null then has_table_privilege({}::regclass, 'update') else pg_has_role(role::oid, 'usage') end);
         alter table {table} enable row level security;
         drop policy if exists {read} on {history};
         create policy {read} on {history} for select using (role is null or pg_has_role(role::oid, 'usage'));
         alter table {history} enable row level security",
        literal(&table),
    )
}

/// Makes the lock `role`'s: nobody else changes its row, and `role` changes no other that has a role.
pub(super) fn bind(place: &Place, role: &str) -> String {
    let (table, history) = (place.table(), place.qualified("_history"));
    let schema = identifier(place.schema().unwrap_or_default());
    let name = identifier(role);
    // UPDATE on the whole table is also the right to lock it for everybody; it stays while rows without a role need it.
    let narrow = block(&format!(
        "begin
           if not exists (select 1 from {table} where role is null) then revoke update on {table} from {name}; end if;
           if not has_schema_privilege({}::regrole, {}::regnamespace, 'usage') then
             grant usage on schema {schema} to {name};
           end if;
         end",
        literal(&name),
        literal(&schema),
    ));
    format!(
        "{};
         update {table} set role = {role}::regrole where lockname = {lock};
         update {history} set role = {role}::regrole where lockname = {lock};
         {narrow};
         grant select, update ({WRITTEN}) on {table} to {name};
         grant select on {history} to {name}",
        safe_session(),
        role = literal(&name),
        lock = literal(place.name()),
    )
}
