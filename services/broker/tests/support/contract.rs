//! A city whose data others read: a broker with the read-only contract, its administrator, its readers.

use super::gateway::{Authority, send};
use super::{Answer, Broker, Database, Postgres, eventually};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use tokio_rustls::TlsConnector;

/// The name that the broker's configuration expects of administrators.
pub const ADMINISTRATOR: &str = "operator.city.svc";
/// What a superuser does in a database.
pub const CONTRACT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../database/src/contract.sql");
/// The password of every reader.
pub const PASSWORD: &str = "reader's Pässword";

pub struct City {
    pub broker: Broker,
    pub authority: Authority,
    pub door: SocketAddr,
    pub administrator: TlsConnector,
}

/// A database in which a superuser has done what the contract needs.
pub fn database() -> Database {
    let database = Postgres::shared().database();
    database.psql(&std::fs::read_to_string(CONTRACT).unwrap());
    database
}

/// Writes the file of a schema's password; without one where there is none.
pub fn set_password(config: &Path, schema: &str, password: Option<&str>) {
    let folder = config.join("contract");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(mim_broker::contract::names::file(schema));
    match password {
        Some(password) => std::fs::write(file, password).unwrap(),
        None => std::fs::remove_file(file).unwrap(),
    }
}

/// The configuration with these tenants.
pub fn configuration(tenants: &str) -> String {
    format!(
        "tenants: [{tenants}]\ncontract: {{statementTimeout: 2, connections: 3}}\n\
         admin: {{listen: \"127.0.0.1:0\", clientNames: [{ADMINISTRATOR}]}}\n"
    )
}

impl City {
    /// On a new database, with readers of the tenants `one`, `two` and the default one, who may read by now.
    pub async fn ready() -> Self {
        let city = Self::over(Arc::new(database()), "one, two", &["one_v1", "two_v1", "_v1"]).await;
        for schema in ["one_v1", "two_v1", "_v1"] {
            city.until_read(schema).await;
        }
        city
    }

    /// With these tenants and passwords; the readers may not be there yet.
    pub async fn over(database: Arc<Database>, tenants: &str, schemas: &[&str]) -> Self {
        let config = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        authority.equip(&config.path().join("admin-tls"));
        std::fs::write(config.path().join("broker.yaml"), configuration(tenants)).unwrap();
        for schema in schemas {
            set_password(config.path(), schema, Some(PASSWORD));
        }
        let broker = Broker::start_with(database, Arc::new(config));
        broker.until_ready().await;
        let door = door(&broker).await;
        let administrator = authority.client(Some(ADMINISTRATOR));
        let city = Self {
            broker,
            authority,
            door,
            administrator,
        };
        eventually(20, "administrators may come in", async || {
            city.try_ask("GET", "/admin/v1/tenants/@default/views", None)
                .await
                .is_ok_and(|answer| answer.status == 200)
        })
        .await;
        city
    }

    /// The role that reads a schema.
    pub fn role(&self, schema: &str) -> String {
        format!("{}.{schema}", self.broker.database.name)
    }

    /// SQL as the reader of a schema; statements are parted by `;;`.
    pub fn command(&self, schema: &str, sql: &str) -> Command {
        let database = &self.broker.database;
        let role = self.role(schema);
        database.postgres.psql_as(&role, PASSWORD, &database.name, sql)
    }

    /// What it printed, or what the server said.
    pub fn try_read(&self, schema: &str, sql: &str) -> Result<String, String> {
        let output = self.command(schema, sql).output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// As [`Self::try_read`], where it is to go well.
    pub fn read(&self, schema: &str, sql: &str) -> String {
        self.try_read(schema, sql)
            .unwrap_or_else(|why| panic!("{sql}: {why}"))
    }

    /// Waits until the reader of a schema may read it.
    pub async fn until_read(&self, schema: &str) {
        let sql = format!("select count(*) from \"{schema}\".places");
        eventually(30, "the reader may read", async || {
            self.try_read(schema, &sql).is_ok()
        })
        .await;
    }

    async fn try_ask(&self, method: &str, path: &str, body: Option<&str>) -> Result<Answer, String> {
        send(&self.administrator, self.door, method, path, &[], body).await
    }

    /// A request of the administrator about the views of a tenant.
    pub async fn views(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let path = format!("/admin/v1/tenants/{path}");
        self.try_ask(method, &path, body).await.unwrap()
    }

    /// Makes or changes a view of the tenant `one`, and insists that it went well.
    pub async fn put(&self, name: &str, body: &str) {
        let answer = self.views("PUT", &format!("one/views/{name}"), Some(body)).await;
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    }

    /// Creates an entity of the tenant `one`.
    pub async fn create(&self, body: &str) {
        let tenant = [("NGSILD-Tenant", "one")];
        let answer = self.broker.send("POST", "/entities", &tenant, Some(body)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
}

/// Where administrators come in.
pub async fn door(broker: &Broker) -> SocketAddr {
    broker.door("listening for administrators administrators=").await
}
