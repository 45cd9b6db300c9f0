//! Roles that read. The broker's own role may make none: functions of the database's superuser do (`mim_roles`, from `contract.sql` of
//! `services/database`), or an administrator by hand. The broker, as owner, gives them what they may.

use crate::contract::Terms;
use crate::contract::names::{self, identifier, literal};
use crate::store::connect::Target;
use crate::store::contract::keep::Kept;
use crate::store::contract::{LOCK, LOCK_KEY, words};
use crate::store::{Store, TenantId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::{Client, Error};

/// How long after its time a statement of a reader is ended, should the reader have told the server to wait longer.
const GRACE: Duration = Duration::from_secs(3);
/// The longest password, in bytes, and how many files are read at most.
const MAX_PASSWORD: u64 = 1024;
const MAX_FILES: usize = 10_000;

/// Whether the functions are there for us.
const FUNCTIONS: &str = "select coalesce(has_function_privilege(to_regprocedure('mim_roles.keep(text, text, integer, integer, text)'), 'execute'), false)";
const KEEP: &str = "select mim_roles.keep($1, $2, $3, $4, $5)";
const CLOSE: &str = "select mim_roles.close($1)";
const DROP: &str = "select mim_roles.drop($1)";
const EXISTS: &str = "select from pg_roles where rolname = $1";
/// Of a role that was made by hand: whether it may do more than read, and whether it may read what is of its tenant.
const BY_HAND: &str = "select rolsuper or rolcreaterole or rolcreatedb or rolbypassrls or rolreplication, has_schema_privilege(oid, $2, 'usage') \
  from pg_roles where rolname = $1";
/// What every role of the server may do in a database unless it is told otherwise. The owner's own rights stay.
const NO_ROOM_FOR_OTHERS: &str = "do $$ begin \
  if has_database_privilege('public', current_database(), 'temporary') then \
    execute format('revoke temporary on database %I from public', current_database()); end if; \
  if to_regnamespace('public') is not null and has_schema_privilege('public', 'public', 'create') then \
    revoke create on schema public from public; end if; \
  exception when insufficient_privilege then null; end $$";
/// Sessions of readers in a transaction for too long; those of roles that we are no member of are not shown to us.
const OVERDUE: &str = "select pg_terminate_backend(a.pid) from pg_stat_activity a join mim.contract_tenants c on c.role = a.usename \
  where a.datname = current_database() and pg_has_role(a.usename, 'usage') \
    and a.xact_start < clock_timestamp() - $1::float8 * interval '1 second'";
const SESSIONS: &str = "select pg_terminate_backend(pid) from pg_stat_activity \
  where datname = current_database() and usename = $1 and pg_has_role(usename, 'usage')";

/// What a role was last made of.
type Made = (TenantId, Option<String>, Terms);

/// Passwords as they stand in files, and what was done with them.
pub(super) struct Readers {
    folder: PathBuf,
    passwords: BTreeMap<String, String>,
    /// Why the folder cannot be read.
    unreadable: Option<String>,
    version: u64,
    /// By role, for one way to the database.
    made: BTreeMap<String, Made>,
    made_over: Option<Arc<Target>>,
}

impl Readers {
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            passwords: BTreeMap::new(),
            unreadable: None,
            version: 0,
            made: BTreeMap::new(),
            made_over: None,
        }
    }

    /// Changes with every change of a file.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Reads the files as they are now. Those that cannot be read leave what was.
    pub async fn look(&mut self, terms: Option<Terms>) {
        if terms.is_none() {
            return;
        }
        let folder = self.folder.clone();
        let read = tokio::task::spawn_blocking(move || read(&folder)).await;
        let (passwords, unreadable) = match read {
            Ok(Ok(passwords)) => (passwords, None),
            Ok(Err(why)) => (self.passwords.clone(), Some(why)),
            Err(_) => return,
        };
        if passwords != self.passwords || unreadable != self.unreadable {
            self.version += 1;
            self.passwords = passwords;
            self.unreadable = unreadable;
        }
    }

    /// Keeps the role of a tenant as its file says; without one nobody may log in as it, unless somebody made it by hand.
    pub async fn keep(
        &mut self,
        client: &Client,
        target: &Arc<Target>,
        one: &Kept,
        terms: Terms,
    ) -> Result<(), String> {
        if let Some(why) = &self.unreadable {
            return Err(why.clone());
        }
        if !self
            .made_over
            .as_ref()
            .is_some_and(|over| Arc::ptr_eq(over, target))
        {
            self.made.clear();
            self.made_over = Some(Arc::clone(target));
        }
        let password = self.passwords.get(&names::file(&one.schema)).cloned();
        let wanted = (one.tenant, password.clone(), terms);
        if self.made.get(&one.role) == Some(&wanted) {
            return Ok(());
        }
        let kept = one_at_a_time(client, async {
            let has_functions = has_functions(client).await?;
            let kept = match &password {
                Some(password) if has_functions => Ok(make(client, target, one, terms, password).await?),
                None if has_functions => Ok(refuse(client, &one.role).await?),
                _ => take(client, target, one, password.is_some()).await?,
            };
            Ok(kept.map(|()| has_functions))
        });
        match kept.await {
            // A role that is made by hand may come and go without our doing.
            Ok(Ok(has_functions)) => {
                if has_functions {
                    self.made.insert(one.role.clone(), wanted);
                }
                Ok(())
            }
            Ok(Err(why)) => Err(why),
            Err(error) => Err(format!(
                "the role {} of the schema {} cannot be kept: {}",
                one.role,
                one.schema,
                words(&error)
            )),
        }
    }
}

fn read(folder: &Path) -> Result<BTreeMap<String, String>, String> {
    let told = |path: &Path, e: &std::io::Error| {
        format!(
            "the passwords of the contract: {} cannot be read: {e}",
            path.display()
        )
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(told(folder, &e)),
    };
    let mut passwords = BTreeMap::new();
    for entry in entries.take(MAX_FILES) {
        let path = entry.map_err(|e| told(folder, &e))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if !name.ends_with(names::PASSWORD) {
            continue;
        }
        let size = std::fs::metadata(&path).map_err(|e| told(&path, &e))?.len();
        if size > MAX_PASSWORD {
            return Err(format!(
                "the passwords of the contract: {} is longer than {MAX_PASSWORD} bytes",
                path.display()
            ));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| told(&path, &e))?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(format!(
                "the passwords of the contract: {} is empty",
                path.display()
            ));
        }
        passwords.insert(name.to_owned(), text.to_owned());
    }
    Ok(passwords)
}

async fn one_at_a_time<T>(client: &Client, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    client.batch_execute("begin").await?;
    let done = async {
        client.execute(LOCK, &[&LOCK_KEY]).await?;
        work.await
    };
    let done = done.await;
    client
        .batch_execute(if done.is_ok() { "commit" } else { "rollback" })
        .await?;
    done
}

async fn has_functions(client: &Client) -> Result<bool, Error> {
    Ok(client.query_one(FUNCTIONS, &[]).await?.get(0))
}

/// Makes the role, and gives it its rights.
async fn make(
    client: &Client,
    target: &Target,
    one: &Kept,
    terms: Terms,
    password: &str,
) -> Result<(), Error> {
    let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
    let timeout = i32::try_from(terms.statement_timeout.get().saturating_mul(1000)).unwrap_or(i32::MAX);
    let connections = i32::from(terms.connections.get());
    let postgis = target
        .search_path
        .split_once(", ")
        .map_or("public", |(_, after)| after);
    let path = format!("{}, {postgis}", identifier(&one.schema));
    client
        .execute(KEEP, &[&one.role, &verifier, &connections, &timeout, &path])
        .await?;
    client.batch_execute(&grants(target, one)).await
}

/// Gives its rights to a role that was made by hand, whose password is nobody's business here.
async fn take(
    client: &Client,
    target: &Target,
    one: &Kept,
    is_expected: bool,
) -> Result<Result<(), String>, Error> {
    let found = client.query_opt(BY_HAND, &[&one.role, &one.schema]).await?;
    match found.map(|row| (row.get(0), row.get(1))) {
        Some((false, false)) => Ok(Ok(client.batch_execute(&grants(target, one)).await?)),
        Some((true, _)) => Ok(Err(format!(
            "the role {} may do more than read; take that from it, and the contract will be granted to it",
            one.role
        ))),
        None if is_expected => Ok(Err(format!(
            "nobody can read the schema {}: the role {} is not there and {} may not make it; let a superuser run contract.sql in the database, or make the role (docs/contract.md)",
            one.schema, one.role, target.settings.username
        ))),
        Some((false, true)) | None => Ok(Ok(())),
    }
}

/// Its rights: this schema, what is in it and what will be, and the database that they are in. Before anybody is let in, everybody loses what would be
/// a way to write.
fn grants(target: &Target, one: &Kept) -> String {
    let (role, schema) = (identifier(&one.role), identifier(&one.schema));
    format!(
        "{NO_ROOM_FOR_OTHERS}; grant connect on database {database} to {role}; grant usage on schema {schema} to {role}; \
         grant select on all tables in schema {schema} to {role}; \
         alter default privileges in schema {schema} grant select on tables to {role}",
        database = identifier(&target.settings.dbname)
    )
}

/// Lets nobody log in as the role.
async fn refuse(client: &Client, role: &str) -> Result<(), Error> {
    client.execute(CLOSE, &[&role]).await.map(|_| ())
}

/// Ends the sessions of a role, and lets it begin no more.
pub(super) async fn shut_out(client: &Client, role: &str) -> Result<(), Error> {
    if has_functions(client).await? {
        refuse(client, role).await?;
    }
    client.query(SESSIONS, &[&role]).await?;
    Ok(())
}

/// Takes a role away. One that was made by hand is left, with no rights here.
pub(super) async fn drop(client: &Client, role: &str) -> Result<(), Error> {
    if has_functions(client).await? {
        client.execute(DROP, &[&role]).await?;
        return Ok(());
    }
    if client.query_opt(EXISTS, &[&role]).await?.is_none() {
        return Ok(());
    }
    let revoke = format!(
        "do $$ begin execute format('revoke all on database %I from %I', current_database(), {}); end $$",
        literal(role)
    );
    client.batch_execute(&revoke).await?;
    tracing::warn!(
        role,
        "the role of a tenant that was dropped is of no use any more; whoever made it may drop it"
    );
    Ok(())
}

impl Store {
    /// Ends what readers do for longer than they may, whatever they told the server.
    pub(super) async fn end_overdue(&self, terms: Terms) {
        let after = f64::from(terms.statement_timeout.get()) + GRACE.as_secs_f64();
        let ended = async { self.pool.lease().await?.query(OVERDUE, &[&after]).await };
        match ended.await {
            Ok(rows) if rows.is_empty() => {}
            Ok(rows) => tracing::warn!(
                sessions = rows.len(),
                "sessions of readers were ended: their transactions took too long"
            ),
            // Where the database does not serve, the keeper says so.
            Err(error) => tracing::debug!(%error, "sessions of readers are looked at later"),
        }
    }
}
