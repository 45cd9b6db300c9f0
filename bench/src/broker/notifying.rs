//! From a write to the receiver of its notification, against the least that anybody could do: insert a row, and when it is
//! on disk wake a task that posts.

use std::fs;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio_postgres_rustls::MakeRustlsConnect;

use super::duel::{Measure, Runs, measured};
use super::entities::{self, KIND, id};
use super::http::{Connection, write_request};
use super::mail::Mail;
use super::postgres::{Database, Postgres};
use super::replica::Replica;
use super::{Rig, say};
use crate::error::Error;
use crate::report::Report;

/// How many times as long as with the bare one the slowest of a hundred may take.
const TIMES: f64 = 4.0;
/// Subscriptions, each of one entity.
const SUBSCRIPTIONS: u64 = 100;
/// How many calls of the bare one are under way at once.
const SENDERS: usize = 16;
/// What the bare one writes: a row of the size of an entity.
const BARE: &str = "create table public.bare (number bigint generated always as identity primary key, entity text, body text); \
    grant all on public.bare to public";

/// From a write to the receiver of its notification.
pub async fn notify(rig: &mut Rig<'_>, report: &mut Report) -> Result<(), Error> {
    let (database, replica) = rig.fresh(&rig.setup()).await?;
    let mail = Mail::listen()?;
    entities::load(
        replica.api(),
        "",
        usize::try_from(SUBSCRIPTIONS).unwrap_or_default(),
    )?;
    for number in 0..SUBSCRIPTIONS {
        let body = subscription(number, mail.at);
        entities::call(replica.api(), "POST", "/ngsi-ld/v1/subscriptions", "", &body)?;
    }
    rig.server.psql(&database.name, BARE)?;
    rig.server.settle(&database)?;
    let race = Race {
        rig,
        mail,
        at: replica.api(),
        replicas: vec![replica],
        bare: Arc::new(Bare::new(&database)?),
    };
    // What is not in memory yet is nobody's.
    race.broker(None)?;
    let mut most_of = Runs::default();
    for _ in 0..rig.args.rounds {
        most_of.0.push(race.broker(None)?);
    }
    let half = most_of.median(|run| run.per_second) / 2.0;
    say(&format!("{half:.0} writes a second"));
    let (mut broker, mut bare) = (Runs::default(), Runs::default());
    for _ in 0..rig.args.rounds {
        broker.0.push(race.broker(Some(half))?);
        bare.0.push(race.bare(Some(half))?);
    }
    rows(report, &most_of, &broker, &bare);
    let mut replicas = race.replicas;
    if let Some(replica) = replicas.pop() {
        rig.end_all("notify", database, replica).await?;
    }
    Ok(())
}

fn rows(report: &mut Report, most: &Runs, broker: &Runs, bare: &Runs) {
    let name = "write to receiver, 100 subscriptions";
    report.at_most(
        format!("{name}: p99, broker / insert, wake-up and POST"),
        broker.median(|run| run.p99) / bare.median(|run| run.p99),
        "x",
        TIMES,
    );
    report.fact(
        format!("{name}: notified writes, most"),
        most.median(|run| run.per_second),
        "/s",
    );
    report.fact(
        format!("{name}: writes of the run for latencies"),
        broker.median(|run| run.per_second),
        "/s",
    );
    for (side, runs) in [("broker", broker), ("bare", bare)] {
        report.fact(format!("{name}: {side}, p50"), runs.median(|run| run.p50), "ms");
        report.fact(format!("{name}: {side}, p99"), runs.median(|run| run.p99), "ms");
        report.fact(
            format!("{name}: {side}, CPU of client and receiver"),
            runs.median(|run| run.client),
            "ms/write",
        );
        if side == "broker" {
            report.fact(
                format!("{name}: {side}, CPU of the broker"),
                runs.median(|run| run.broker),
                "ms/write",
            );
        }
        report.fact(
            format!("{name}: {side}, CPU of the database"),
            runs.median(|run| run.database),
            "ms/write",
        );
    }
}

fn subscription(number: u64, receiver: SocketAddr) -> String {
    format!(
        r#"{{"type":"Subscription","entities":[{{"type":"{KIND}","id":"{}"}}],"notification":{{"endpoint":{{"uri":"http://{receiver}/notify","accept":"application/json"}}}}}}"#,
        id(number)
    )
}

/// Both sides.
struct Race<'a, 'b> {
    rig: &'a Rig<'b>,
    mail: Arc<Mail>,
    at: SocketAddr,
    replicas: Vec<Replica>,
    bare: Arc<Bare>,
}

impl Race<'_, '_> {
    fn server(&self) -> &Postgres {
        &self.rig.server
    }

    fn broker(&self, rate: Option<f64>) -> Result<Measure, Error> {
        let (clients, seconds) = (self.rig.args.clients, self.rig.args.seconds);
        measured(self.server(), &self.replicas, || {
            self.mail.drive(clients, seconds, rate, || {
                let mut connection = Connection::open(self.at).map_err(lost)?;
                let mut request = Vec::new();
                Ok(move |number: u64| {
                    request.clear();
                    write_patch(&mut request, number);
                    match connection.call(&request).map_err(lost)? {
                        204 => Ok(()),
                        status => Err(Error::Unexpected(format!(
                            "a write was answered with {status}: {}",
                            String::from_utf8_lossy(connection.body())
                        ))),
                    }
                })
            })
        })
    }

    fn bare(&self, rate: Option<f64>) -> Result<Measure, Error> {
        let (writers, seconds) = (self.rig.args.connections, self.rig.args.seconds);
        measured(self.server(), &self.replicas, || {
            let senders = Senders::start(&self.mail);
            self.mail.drive(writers, seconds, rate, || {
                let mut session = self.bare.session()?;
                let wake = senders.wake.clone();
                Ok(move |number: u64| {
                    session.insert(number)?;
                    // Nobody is left to hear it only when the run is over.
                    let _ = wake.send(number);
                    Ok(())
                })
            })
        })
    }
}

fn write_patch(request: &mut Vec<u8>, number: u64) {
    let target = format!("/ngsi-ld/v1/entities/{}/attrs", id(number % SUBSCRIPTIONS));
    let body = format!(r#"{{"level":{{"type":"Property","value":{number}}}}}"#);
    write_request(request, "PATCH", &target, "", body.as_bytes());
}

fn lost(source: std::io::Error) -> Error {
    Error::Connection {
        what: "a writer's connection".to_owned(),
        source,
    }
}

/// Tasks that post, woken by a number.
struct Senders {
    wake: mpsc::Sender<u64>,
}

impl Senders {
    fn start(mail: &Arc<Mail>) -> Self {
        let (wake, woken) = mpsc::channel::<u64>();
        let woken = Arc::new(Mutex::new(woken));
        for _ in 0..SENDERS {
            let (mail, woken) = (Arc::clone(mail), Arc::clone(&woken));
            thread::spawn(move || -> std::io::Result<()> {
                let mut connection = Connection::open(mail.at)?;
                let mut request = Vec::new();
                loop {
                    let next = woken.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(number) = next else { return Ok(()) };
                    request.clear();
                    mail.write_notification(&mut request, number);
                    connection.call(&request)?;
                }
            });
        }
        Self { wake }
    }
}

/// How the bare one connects.
struct Bare {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
}

/// One connection of it, with its statement.
struct Session {
    runtime: tokio::runtime::Runtime,
    client: tokio_postgres::Client,
    insert: tokio_postgres::Statement,
}

impl Bare {
    fn new(database: &Database) -> Result<Self, Error> {
        let pem = fs::read(database.ca()).map_err(Error::file(&database.ca()))?;
        let mut config = tokio_postgres::Config::new();
        config
            .host("localhost")
            .hostaddr(std::net::Ipv4Addr::LOCALHOST.into())
            .port(database.port())
            .dbname(&database.name)
            .user(&database.name)
            .password(database.password())
            .ssl_mode(tokio_postgres::config::SslMode::Require);
        Ok(Self {
            config,
            tls: MakeRustlsConnect::new(trusting(&pem)?),
        })
    }

    fn session(&self) -> Result<Session, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(lost)?;
        let (client, insert) = runtime.block_on(async {
            let (client, connection) = self.config.connect(self.tls.clone()).await?;
            tokio::spawn(connection);
            let insert = client
                .prepare("insert into public.bare (entity, body) values ($1, $2)")
                .await?;
            Ok::<_, tokio_postgres::Error>((client, insert))
        })?;
        Ok(Session {
            runtime,
            client,
            insert,
        })
    }
}

impl Session {
    fn insert(&mut self, number: u64) -> Result<(), Error> {
        let entity = id(number % SUBSCRIPTIONS);
        let mut body = String::new();
        entities::write(&mut body, &entity, number);
        let insert = async { self.client.execute(&self.insert, &[&entity, &body]).await };
        self.runtime.block_on(insert)?;
        Ok(())
    }
}

fn trusting(pem: &[u8]) -> Result<rustls::ClientConfig, Error> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let bad = |problem: &dyn std::fmt::Display| {
        Error::Unexpected(format!("the database's certificate cannot be used: {problem}"))
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|problem| bad(&problem))?;
        roots.add(certificate).map_err(|problem| bad(&problem))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|problem| bad(&problem))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
