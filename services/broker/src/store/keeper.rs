//! Keeps the way to the database open: connects, brings the schema up to date, notices loss within a second, comes back
//! by itself, follows the mounted files and the list of tenants, and sees to it that queries are planned by statistics.
//! A database that takes no writes is read on.

use crate::store::connect::{Session, Target, connect};
use crate::store::history::Keeping;
use crate::store::migrate::migrate;
use crate::store::partitions::{self, Temporal};
use crate::store::pool::{Doubts, State};
use crate::store::settings::{Places, Settings};
use crate::store::statistics::Analyst;
use crate::store::tenants::{Tenants, Wanted};
use crate::store::trouble::{Trouble, answered};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, SimpleQueryMessage};

/// How often the database is asked whether it is still there, and the files are looked at.
const WATCH: Duration = Duration::from_secs(1);
/// How long it may take to say so.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it may take for a list of tenants, which may wait for another broker's.
const LONGER: Duration = Duration::from_secs(15);
/// How often the partitions of the history are looked after.
const PARTITIONS: Duration = Duration::from_mins(1);
/// How long to wait between attempts to come back.
const RETRY: Duration = Duration::from_millis(500);
/// The same while a migration waits for somebody else's transaction: as long as it waited, and longer each time, so that who waits behind it has most of the
/// time.
const HELD_RETRY: Duration = Duration::from_secs(2);
const HELD_RETRY_MOST: Duration = Duration::from_secs(10);

/// The one task that decides whether the database serves.
pub struct Keeper {
    /// Where the settings are.
    pub places: Places,
    /// What the configuration says of tenants.
    pub configured: watch::Receiver<Wanted>,
    /// Where their numbers go.
    pub tenants: Arc<Tenants>,
    /// What is to be kept of the past.
    pub temporal: watch::Receiver<Temporal>,
    /// Where it is told what is done about it.
    pub keeping: watch::Sender<Keeping>,
    /// Where the state goes.
    pub state: watch::Sender<State>,
    /// Woken by what requests have met.
    pub doubts: Arc<Doubts>,
    /// What could not be written, for lack of room mostly, and is tried again.
    pub lacking: Lacking,
}

/// What a database that lacks something, room mostly, could not keep. Reads go on without it.
#[derive(Clone, Copy, Default)]
pub struct Lacking {
    tenants: bool,
    partitions: bool,
}

/// Whether it was written. That the server lacks what a write needs is no loss of the server: this is told when it begins, and noted in `lacking`.
fn kept(written: Result<(), Error>, what: &str, lacking: &mut bool) -> Result<(), Error> {
    let before = *lacking;
    *lacking = written.as_ref().err().and_then(Error::code).is_some_and(is_lack);
    match written {
        Err(error) if *lacking => {
            if !before {
                tracing::warn!(%error, "the database lacks what {what} need; they are made when there is more");
            }
            Ok(())
        }
        other => other,
    }
}

/// The way to a database that serves.
struct Way {
    session: Session,
    target: Arc<Target>,
    /// Whether it takes writes.
    writes: bool,
    /// When it was found.
    since: Instant,
}

impl Way {
    /// Whether writes over this session are taken at this moment; asked of the session, so it tells of its loss too.
    async fn takes_writes(&self) -> Result<bool, Trouble> {
        takes_writes(&self.session, &self.target.settings).await
    }
}

async fn takes_writes(session: &Session, settings: &Settings) -> Result<bool, Trouble> {
    let asked = session.client.simple_query("show transaction_read_only");
    let answer = answered(PATIENCE, settings, asked).await?;
    let is_off = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("off"));
    Ok(answer.iter().any(is_off))
}

impl Keeper {
    /// Runs for ever.
    pub async fn run(mut self) {
        let mut rest = RETRY;
        loop {
            let trouble = match self.find_way().await {
                Ok(way) => {
                    tracing::info!(database = ?way.target.settings, "the database serves");
                    self.tell(&way);
                    self.stay_up(way).await
                }
                Err(trouble) => trouble,
            };
            rest = match trouble {
                Trouble::Held { .. } => (rest * 2).clamp(HELD_RETRY, HELD_RETRY_MOST),
                _ => RETRY,
            };
            self.go_down(trouble);
            tokio::time::sleep(rest).await;
        }
    }

    fn go_down(&self, trouble: Trouble) {
        let news = !matches!(&*self.state.borrow(), State::Down(before) if *before == trouble);
        if news {
            tracing::warn!(%trouble, "the database cannot be used");
            self.state.send_replace(State::Down(trouble));
        }
    }

    /// Tells requests of a way. Connections of another one are closed as they become idle.
    fn tell(&self, way: &Way) {
        let target = Arc::clone(&way.target);
        let before = self.state.send_replace(if way.writes {
            State::Up(target)
        } else {
            State::ReadOnly(target)
        });
        match (matches!(before, State::ReadOnly(_)), way.writes) {
            (false, false) => {
                tracing::warn!(
                    "the database is read-only: reads go on, writes are refused until it takes them"
                );
            }
            (true, true) => tracing::info!("the database takes writes again"),
            _ => {}
        }
    }

    /// What the configuration says is taken as followed only where all of this has succeeded: a way of before goes on, and is yet to follow it. For the same
    /// reason requests are told of it last: numbers of tenants are those of one database.
    async fn find_way(&mut self) -> Result<Way, Trouble> {
        let (mut configured, mut temporal) = (self.configured.clone(), self.temporal.clone());
        let settings = Settings::read(&self.places).await?;
        let mut target = Target::new(settings)?;
        let session = connect(&target).await?;
        let writes = takes_writes(&session, &target.settings).await?;
        target.search_path = migrate(&session.client, &target.settings).await?;
        let way = Way {
            session,
            target: Arc::new(target),
            writes,
            since: Instant::now(),
        };
        let temporal_now = *temporal.borrow_and_update();
        let keeping = self.look_after_history(&way, temporal_now).await?;
        let wanted = configured.borrow_and_update().clone();
        self.sync_tenants(&way, &wanted).await?;
        // Undo what was set for migrations.
        let limits = way
            .session
            .client
            .batch_execute("set statement_timeout = '10s'; set lock_timeout = '5s'");
        let limited = answered(PATIENCE, &way.target.settings, limits).await;
        if let Err(trouble) = limited {
            // The numbers of a way of before are to be told again.
            self.configured.mark_changed();
            return Err(trouble);
        }
        self.tell_keeping(keeping);
        (self.configured, self.temporal) = (configured, temporal);
        Ok(way)
    }

    async fn sync_tenants(&mut self, way: &Way, wanted: &Wanted) -> Result<(), Trouble> {
        let client = &way.session.client;
        let lacking = &mut self.lacking.tenants;
        let sync = async {
            if way.writes {
                kept(wanted.keep(client).await, "tenants", lacking)?;
            }
            self.tenants.learn_all(client, wanted).await
        };
        answered(LONGER, &way.target.settings, sync).await?;
        if !way.writes {
            // They come from the database that this one follows, or with the leave to write.
            self.lacking.tenants = self.tenants.some_are_awaited();
        }
        Ok(())
    }

    async fn look_after_history(&mut self, way: &Way, temporal: Temporal) -> Result<Keeping, Trouble> {
        let client = &way.session.client;
        let lacking = &mut self.lacking.partitions;
        let look = async {
            if way.writes {
                let looked = partitions::look_after(client, temporal, Timestamp::now()).await;
                kept(looked, "partitions of the history", lacking)?;
            }
            partitions::look_at(client, temporal).await
        };
        answered(LONGER, &way.target.settings, look).await
    }

    fn tell_keeping(&self, keeping: Keeping) {
        self.keeping
            .send_if_modified(|current| std::mem::replace(current, keeping) != keeping);
    }

    /// Returns when the database does not serve any more.
    async fn stay_up(&mut self, mut way: Way) -> Trouble {
        let mut told = None;
        let mut analyst = Analyst::default();
        let mut looked_after = Instant::now();
        loop {
            let mut refused = false;
            tokio::select! {
                () = tokio::time::sleep(WATCH) => {}
                () = self.doubts.connections.notified() => {}
                () = self.doubts.writes.notified(), if way.since.elapsed() > WATCH => refused = true,
                // Who sends these has ended only where the process is at its end.
                Ok(()) = self.configured.changed() => self.configured.mark_changed(),
                Ok(()) = self.temporal.changed() => self.temporal.mark_changed(),
            }
            if let Err(trouble) = self.look_for_writes(&mut way, refused).await {
                return trouble;
            }
            let followed = self.follow(&way, &mut looked_after, &mut analyst).await;
            if let Err(trouble) = followed {
                return trouble;
            }
            self.follow_settings(&mut way, &mut told).await;
        }
    }

    /// Follows what the configuration says, and looks after what time brings.
    async fn follow(
        &mut self,
        way: &Way,
        looked_after: &mut Instant,
        analyst: &mut Analyst,
    ) -> Result<(), Trouble> {
        if self.configured.has_changed().unwrap_or_default() || self.lacking.tenants {
            let wanted = self.configured.borrow_and_update().clone();
            self.sync_tenants(way, &wanted).await?;
        }
        if self.temporal.has_changed().unwrap_or_default() || looked_after.elapsed() > PARTITIONS {
            *looked_after = Instant::now();
            let temporal = *self.temporal.borrow_and_update();
            let keeping = self.look_after_history(way, temporal).await?;
            self.tell_keeping(keeping);
        }
        if way.writes {
            // Timed by itself, so that a table that takes long to analyze is not taken for a loss.
            let looked = analyst.look(&way.session.client);
            answered(PATIENCE, &way.target.settings, looked).await?;
        }
        Ok(())
    }

    /// Looks whether the database still serves, and whether it takes writes. What sessions may do can be said of the
    /// server, which all of them follow at once, and of the database or the role, which holds for those that begin after
    /// that: so where writes are refused, a new session tells, and where they were, all are made anew.
    async fn look_for_writes(&mut self, way: &mut Way, refused: bool) -> Result<(), Trouble> {
        let writes = way.takes_writes().await?;
        if way.writes && !writes {
            way.writes = false;
            self.tell(way);
            return Ok(());
        }
        let changed = refused || writes != way.writes || (!writes && would_write(&way.target).await);
        if changed {
            way.since = Instant::now();
            match self.find_way().await {
                Ok(fresh) => {
                    *way = fresh;
                    self.tell(way);
                }
                // What works goes on, and is looked at again.
                Err(trouble) => tracing::debug!(%trouble, "no new session can be had"),
            }
        }
        Ok(())
    }

    /// Goes over to new settings as soon as they work.
    async fn follow_settings(&mut self, way: &mut Way, told: &mut Option<Trouble>) {
        match Settings::read(&self.places).await {
            Ok(settings) if settings != way.target.settings => match self.find_way().await {
                Ok(fresh) => {
                    *way = fresh;
                    self.tell(way);
                }
                Err(trouble) => {
                    // Half-written files and a password that the database is yet to learn: what works goes on.
                    if told.as_ref() != Some(&trouble) {
                        tracing::warn!(%trouble, "the new settings of the database do not work yet; the ones from before are used on");
                        *told = Some(trouble);
                    }
                }
            },
            Ok(_) => *told = None,
            Err(trouble) => {
                tracing::warn!(%trouble, "the settings of the database cannot be read; the ones from before are used on");
            }
        }
    }
}

/// Of the server's resources (class 53 of the codes of PostgreSQL) all but connections, which are no matter of one statement. And the leave to write:
/// it may go between the question whether it is there and the write.
fn is_lack(code: &SqlState) -> bool {
    let of_room = code.code().starts_with("53") && *code != SqlState::TOO_MANY_CONNECTIONS;
    of_room || *code == SqlState::READ_ONLY_SQL_TRANSACTION
}

/// Whether a session that begins now is one that writes.
async fn would_write(target: &Target) -> bool {
    let Ok(session) = connect(target).await else {
        return false;
    };
    takes_writes(&session, &target.settings).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_of_its_own_that_is_refused_is_no_loss_of_the_database_unless_no_connection_is_left() {
        for lack in [
            SqlState::DISK_FULL,
            SqlState::OUT_OF_MEMORY,
            SqlState::READ_ONLY_SQL_TRANSACTION,
        ] {
            assert!(is_lack(&lack), "{}", lack.code());
        }
        for loss in [
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::UNDEFINED_TABLE,
        ] {
            assert!(!is_lack(&loss), "{}", loss.code());
        }
    }
}
