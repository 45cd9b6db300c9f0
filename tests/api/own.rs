//! A control plane of its own for tests that stop it, change its definitions, or give an operator rights everywhere. One at a time uses it.

use std::ops::{Deref, DerefMut};

use mim_lab::{Audit, Options};
use mim_tests::cluster::{self, Cluster};
use tokio::sync::{Mutex, MutexGuard};

static OWN: Mutex<Option<Cluster>> = Mutex::const_new(None);

/// The control plane, while a test has it.
pub struct Own(MutexGuard<'static, Option<Cluster>>);

impl Deref for Own {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.0.as_ref().expect("it was started")
    }
}

impl DerefMut for Own {
    fn deref_mut(&mut self) -> &mut Cluster {
        self.0.as_mut().expect("it was started")
    }
}

/// Takes the control plane, with an API server that answers and our definitions, however a test before left it.
pub async fn cluster() -> Own {
    let mut own = OWN.lock().await;
    if let Some(held) = own.as_mut() {
        held.plane.resume_api_server().expect("the API server goes on");
        held.plane
            .start_api_server()
            .await
            .expect("the API server is back");
        held.install_definitions().await;
    } else {
        let options = Options {
            controller_manager: true,
            audit: Some(Audit::Metadata),
            ..Options::default()
        };
        *own = Some(cluster::start(options).await);
    }
    Own(own)
}
