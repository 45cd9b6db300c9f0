//! Keeps the way to the database open: connects, brings the schema up to date, notices loss within a second, comes back
//! by itself, follows the mounted files and the list of tenants, and sees to it that queries are planned by statistics.

use crate::store::connect::{Session, Target, connect};
use crate::store::history::Keeping;
use crate::store::migrate::migrate;
use crate::store::partitions::{self, Temporal};
use crate::store::pool::State;
use crate::store::settings::{Places, Settings};
use crate::store::statistics::Analyst;
use crate::store::tenants::{Tenants, Wanted};
use crate::store::trouble::{Trouble, answered};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

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
    /// Woken when a request saw a connection fail.
    pub doubt: Arc<Notify>,
}

impl Keeper {
    /// Runs for ever.
    pub async fn run(mut self) {
        loop {
            match self.come_up().await {
                Ok((session, target)) => {
                    tracing::info!(database = ?target.settings, "the database serves");
                    let trouble = self.stay_up(session, target).await;
                    self.go_down(trouble);
                }
                Err(trouble) => self.go_down(trouble),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn go_down(&self, trouble: Trouble) {
        let news = !matches!(&*self.state.borrow(), State::Down(before) if *before == trouble);
        if news {
            tracing::warn!(%trouble, "the database cannot be used");
            self.state.send_replace(State::Down(trouble));
        }
    }

    async fn come_up(&mut self) -> Result<(Session, Arc<Target>), Trouble> {
        let settings = Settings::read(&self.places).await?;
        let mut target = Target::new(settings)?;
        let session = connect(&target).await?;
        target.search_path = migrate(&session.client, &target.settings).await?;
        self.sync_tenants(&session, &target).await?;
        self.look_after_history(&session, &target).await?;
        // Undo what was set for migrations.
        let limits = session
            .client
            .batch_execute("set statement_timeout = '10s'; set lock_timeout = '5s'");
        answered(PATIENCE, &target.settings, limits).await?;
        let target = Arc::new(target);
        self.state.send_replace(State::Up(Arc::clone(&target)));
        Ok((session, target))
    }

    async fn sync_tenants(&mut self, session: &Session, target: &Target) -> Result<(), Trouble> {
        let wanted = self.configured.borrow_and_update().clone();
        let sync = self.tenants.sync(&session.client, &wanted);
        answered(LONGER, &target.settings, sync).await
    }

    async fn look_after_history(&mut self, session: &Session, target: &Target) -> Result<(), Trouble> {
        let temporal = *self.temporal.borrow_and_update();
        let look = partitions::look_after(&session.client, temporal, Timestamp::now());
        let keeping = answered(LONGER, &target.settings, look).await?;
        self.keeping
            .send_if_modified(|current| std::mem::replace(current, keeping) != keeping);
        Ok(())
    }

    /// Returns when the database does not serve any more.
    async fn stay_up(&mut self, mut session: Session, mut target: Arc<Target>) -> Trouble {
        let mut told = None;
        let mut analyst = Analyst::default();
        let mut looked_after = Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep(WATCH) => {}
                () = self.doubt.notified() => {}
                // Who sends these has ended only where the process is at its end.
                Ok(()) = self.configured.changed() => self.configured.mark_changed(),
                Ok(()) = self.temporal.changed() => self.temporal.mark_changed(),
            }
            if self.configured.has_changed().unwrap_or_default()
                && let Err(trouble) = self.sync_tenants(&session, &target).await
            {
                return trouble;
            }
            if self.temporal.has_changed().unwrap_or_default() || looked_after.elapsed() > PARTITIONS {
                looked_after = Instant::now();
                if let Err(trouble) = self.look_after_history(&session, &target).await {
                    return trouble;
                }
            }
            let still_there = session.client.simple_query("select 1");
            if let Err(trouble) = answered(PATIENCE, &target.settings, still_there).await {
                return trouble;
            }
            // Timed by itself, so that a table that takes long to analyze is not taken for a loss.
            let looked = analyst.look(&session.client);
            if let Err(trouble) = answered(PATIENCE, &target.settings, looked).await {
                return trouble;
            }
            match Settings::read(&self.places).await {
                Ok(settings) if settings != target.settings => match self.come_up().await {
                    // New settings that work are used at once; others are tried again below.
                    Ok(fresh) => (session, target) = fresh,
                    Err(trouble) => {
                        // Half-written files and a password that the database is yet to learn: what works goes on.
                        if told.as_ref() != Some(&trouble) {
                            tracing::warn!(%trouble, "the new settings of the database do not work yet; the ones from before are used on");
                            told = Some(trouble);
                        }
                    }
                },
                Ok(_) => told = None,
                Err(trouble) => {
                    tracing::warn!(%trouble, "the settings of the database cannot be read; the ones from before are used on");
                }
            }
        }
    }
}
