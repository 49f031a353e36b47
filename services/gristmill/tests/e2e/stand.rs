//! What the checks talk to. The checks of a mode that run at the same time share one.

use std::{
    env, process,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use gristmill_testkit::{Fleet, FleetBuilder, Http, Server, ServerBuilder, World};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// Names the gateway of a fleet that is there already, such as `http://127.0.0.1:8080`. It has the default settings,
/// the job types for tests, and whatever jobs it had before. Unless it is set, a fleet is started.
const DEPLOYED: &str = "GRISTMILL_E2E_URL";
/// Quicker than the default: many checks wait for a duty.
const TICK_MS: u64 = 100;

/// One of the two modes, running; stopped when the last check that uses it has ended.
pub(crate) enum Stand {
    Embedded {
        server: Server,
        _data: TempDir,
    },
    Fleet(Fleet),
    /// A fleet that somebody else has started, and stops.
    Deployed {
        url: String,
    },
}

impl Stand {
    /// A client with connections of its own.
    pub(crate) fn http(&self) -> Http {
        match self {
            Self::Embedded { server, .. } => server.http(),
            Self::Fleet(fleet) => fleet.http(),
            Self::Deployed { url } => Http::new(url),
        }
    }
}

/// The embedded server.
pub(crate) async fn embedded() -> Arc<Stand> {
    static SHARED: Mutex<Weak<Stand>> = Mutex::const_new(Weak::new());
    shared(&SHARED, async || {
        let data = tempfile::tempdir().expect("a folder");
        let builder = ServerBuilder::new(env!("CARGO_BIN_EXE_gristmill"), data.path())
            .with("http.max_text_bytes", max_text_bytes())
            .with("scheduler.tick_ms", TICK_MS);
        Stand::Embedded { server: builder.start().await.expect("a server"), _data: data }
    })
    .await
}

/// The fleet.
pub(crate) async fn fleet() -> Arc<Stand> {
    static SHARED: Mutex<Weak<Stand>> = Mutex::const_new(Weak::new());
    shared(&SHARED, async || {
        if let Ok(url) = env::var(DEPLOYED) {
            return Stand::Deployed { url };
        }
        let builder = FleetBuilder::new(env!("CARGO_BIN_EXE_gristmill"))
            .with("http.max_text_bytes", max_text_bytes())
            .with("scheduler.tick_ms", TICK_MS);
        let world = World::new().await.expect("a world");
        Stand::Fleet(builder.start(world).await.expect("a fleet"))
    })
    .await
}

/// The one that others use at this moment, or a new one.
async fn shared(slot: &Mutex<Weak<Stand>>, start: impl AsyncFnOnce() -> Stand) -> Arc<Stand> {
    let mut slot = slot.lock().await;
    if let Some(stand) = slot.upgrade() {
        return stand;
    }
    let stand = Arc::new(start().await);
    *slot = Arc::downgrade(&stand);
    stand
}

/// A text may be so long. Where we start what we test, it is less than the default, so that too much is soon sent.
pub(crate) fn max_text_bytes() -> usize {
    if env::var_os(DEPLOYED).is_some() { 64 << 20 } else { 8 << 20 }
}

/// A name that no other check uses, nor an earlier run on the same fleet.
pub(crate) fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    format!("{what}-{time:x}-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
