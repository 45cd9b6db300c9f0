//! Keeps the way to the database open: connects, brings the schema up to date, notices loss within a second, comes back
//! by itself, and follows the mounted files and the list of tenants.

use crate::store::connect::{Target, connect};
use crate::store::migrate::migrate;
use crate::store::pool::State;
use crate::store::settings::{Places, Settings};
use crate::store::tenants::Tenants;
use crate::store::trouble::Trouble;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_postgres::Client;

/// How often the database is asked whether it is still there, and the files are looked at.
const WATCH: Duration = Duration::from_secs(1);
/// How long it may take to say so.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long to wait between attempts to come back.
const RETRY: Duration = Duration::from_millis(500);

/// The one task that decides whether the database serves.
pub struct Keeper {
    /// Where the settings are.
    pub places: Places,
    /// The tenants of the configuration.
    pub configured: watch::Receiver<Vec<String>>,
    /// Where their numbers go.
    pub tenants: Arc<Tenants>,
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
                Ok((client, target)) => {
                    tracing::info!(database = ?target.settings, "the database serves");
                    let trouble = self.stay_up(client, target).await;
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

    async fn come_up(&mut self) -> Result<(Client, Arc<Target>), Trouble> {
        let settings = Settings::read(&self.places).await?;
        let mut target = Target::new(settings)?;
        let client = connect(&target).await?;
        target.search_path = migrate(&client, &target.settings).await?;
        let tenants = self.configured.borrow_and_update().clone();
        self.tenants
            .sync(&client, &tenants)
            .await
            .map_err(|e| Trouble::of(&e, &target.settings))?;
        // Undo what was set for migrations.
        client
            .batch_execute("set statement_timeout = '10s'; set lock_timeout = '5s'")
            .await
            .map_err(|e| Trouble::of(&e, &target.settings))?;
        let target = Arc::new(target);
        self.state.send_replace(State::Up(Arc::clone(&target)));
        Ok((client, target))
    }

    /// Returns when the database does not serve any more.
    async fn stay_up(&mut self, mut client: Client, mut target: Arc<Target>) -> Trouble {
        let mut told = None;
        loop {
            let changed = tokio::select! {
                () = tokio::time::sleep(WATCH) => false,
                () = self.doubt.notified() => false,
                changed = self.configured.changed() => changed.is_ok(),
            };
            if changed {
                let tenants = self.configured.borrow_and_update().clone();
                if let Err(error) = self.tenants.sync(&client, &tenants).await {
                    return Trouble::of(&error, &target.settings);
                }
            }
            match tokio::time::timeout(PATIENCE, client.simple_query("select 1")).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Trouble::of(&error, &target.settings),
                Err(_) => return Trouble::NotServing("no answer within 3 s".to_owned()),
            }
            match Settings::read(&self.places).await {
                Ok(settings) if settings != target.settings => match self.come_up().await {
                    // New settings that work are used at once; others are tried again below.
                    Ok(fresh) => (client, target) = fresh,
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
