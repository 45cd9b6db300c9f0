//! One connection: TLS, login, and a session that keeps the broker's promises.

use crate::store::settings::Settings;
use crate::store::trouble::Trouble;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long to wait for the network and for the login.
const CONNECT: Duration = Duration::from_secs(5);

/// Settings with their certificates read, ready to connect with.
pub struct Target {
    /// What it was made of.
    pub settings: Settings,
    /// Schemas in which names without one are looked up: ours, and that of PostGIS.
    pub search_path: String,
    tls: Arc<ClientConfig>,
}

impl Target {
    /// Reads the certificates.
    pub fn new(settings: Settings) -> Result<Self, Trouble> {
        let tls = Arc::new(tls(settings.ca.as_deref())?);
        Ok(Self {
            settings,
            search_path: "mim, public".to_owned(),
            tls,
        })
    }
}

fn tls(ca: Option<&[u8]>) -> Result<ClientConfig, Trouble> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|e| {
                    Trouble::Settings(format!("the CA certificate of the database cannot be read: {e}"))
                })?;
                roots.add(certificate).map_err(|e| {
                    Trouble::Settings(format!("the CA certificate of the database cannot be used: {e}"))
                })?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(Trouble::Settings(
            "there is no CA certificate to check the database's certificate with".to_owned(),
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| Trouble::Settings(format!("TLS cannot be set up: {e}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What each session is told. A commit is on disk before it is acknowledged, whatever the server's default; a statement
/// ends by itself; a query whose client is gone ends too. Notices, in which PostGIS tells coordinates, are not sent.
const SESSION: &str = "select set_config('search_path', $1, false), \
    set_config('synchronous_commit', case current_setting('synchronous_commit') when 'remote_apply' then 'remote_apply' else 'on' end, false), \
    set_config('statement_timeout', '10s', false), set_config('lock_timeout', '5s', false), \
    set_config('idle_in_transaction_session_timeout', '15s', false), set_config('client_connection_check_interval', '2s', false), \
    set_config('client_min_messages', 'warning', false), set_config('timezone', 'UTC', false), set_config('jit', 'off', false)";

/// How often the server looks whether the client of a running statement is still there; as in [`SESSION`].
const SERVER_LOOKS: Duration = Duration::from_secs(2);
/// How long the server may take to cancel a statement and end its session.
const END: Duration = Duration::from_secs(3);

/// A session of the server. Dropped, it is closed at once; a statement that is under way then still runs until the
/// server notices, so a session in the middle of something is to be ended with [`Session::end`].
pub struct Session {
    /// What statements are sent with.
    pub client: Client,
    driver: Driver,
    tls: MakeRustlsConnect,
}

/// The task that moves bytes between a client and its socket. By itself it would keep the socket until the last answer
/// has come, whoever still waits for it.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Session {
    /// Cancels what is under way and closes the session. Returns when the server has let go of it, so that who holds a
    /// place for it until then never has more sessions than places.
    pub async fn end(self) {
        let Self {
            client,
            mut driver,
            tls,
        } = self;
        let ended = tokio::time::timeout(END, async {
            if let Err(error) = client.cancel_token().cancel_query(tls).await {
                tracing::debug!(%error, "an abandoned statement could not be cancelled");
            }
            drop(client);
            // The cancelled statement answers; then the driver says goodbye and ends.
            let _ = (&mut driver.0).await;
        });
        if ended.await.is_err() {
            drop(driver);
            tokio::time::sleep(SERVER_LOOKS).await;
        }
    }
}

/// Connects, logs in and sets the session up.
pub async fn connect(target: &Target) -> Result<Session, Trouble> {
    let settings = &target.settings;
    let mut config = Config::new();
    config
        .host(&settings.host)
        .port(settings.port)
        .dbname(&settings.dbname)
        .user(&settings.username)
        .password(&settings.password)
        .application_name("mim-broker")
        .ssl_mode(tokio_postgres::config::SslMode::Require)
        .connect_timeout(CONNECT)
        .keepalives_idle(Duration::from_secs(5))
        .keepalives_interval(Duration::from_secs(2))
        .keepalives_retries(3)
        .tcp_user_timeout(Duration::from_secs(10));
    let tls = MakeRustlsConnect::new(ClientConfig::clone(&target.tls));
    let place = || format!("{}:{}", settings.host, settings.port);
    let login = tokio::time::timeout(CONNECT, config.connect(tls.clone())).await;
    let login = login.map_err(|_| Trouble::Unreachable {
        place: place(),
        why: "no answer within 5 s".to_owned(),
    })?;
    let (client, connection) = login.map_err(|e| Trouble::of(&e, settings))?;
    let driver = tokio::spawn(async move {
        // Ends when the client is dropped or the server hangs up; who uses the client learns of it there.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the database ended");
        }
    });
    let driver = Driver(driver);
    let params: [(&(dyn ToSql + Sync), Type); 1] = [(&target.search_path, Type::TEXT)];
    let set = tokio::time::timeout(CONNECT, client.query_typed(SESSION, &params));
    let set = set.await.map_err(|_| Trouble::Unreachable {
        place: place(),
        why: "no answer within 5 s".to_owned(),
    })?;
    set.map_err(|e| Trouble::of(&e, settings))?;
    Ok(Session { client, driver, tls })
}
