//! What the checks talk to. The checks of a mode that run at the same time share one.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU32, Ordering},
};

use gristmill_testkit::{Fleet, FleetBuilder, Http, Server, ServerBuilder, World};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// A text may be so long here. Less than the default, so that too much is soon sent.
pub(crate) const MAX_TEXT_BYTES: usize = 8 << 20;
/// Quicker than the default: many checks wait for a duty.
const TICK_MS: u64 = 100;

/// One of the two modes, running; stopped when the last check that uses it has ended.
pub(crate) enum Stand {
    Embedded { server: Server, _data: TempDir },
    Fleet(Fleet),
}

impl Stand {
    /// A client with connections of its own.
    pub(crate) fn http(&self) -> Http {
        match self {
            Self::Embedded { server, .. } => server.http(),
            Self::Fleet(fleet) => fleet.http(),
        }
    }
}

/// The embedded server.
pub(crate) async fn embedded() -> Arc<Stand> {
    static SHARED: Mutex<Weak<Stand>> = Mutex::const_new(Weak::new());
    shared(&SHARED, async || {
        let data = tempfile::tempdir().expect("a folder");
        let builder = ServerBuilder::new(env!("CARGO_BIN_EXE_gristmill"), data.path())
            .with("http.max_text_bytes", MAX_TEXT_BYTES)
            .with("scheduler.tick_ms", TICK_MS);
        Stand::Embedded { server: builder.start().await.expect("a server"), _data: data }
    })
    .await
}

/// The fleet.
pub(crate) async fn fleet() -> Arc<Stand> {
    static SHARED: Mutex<Weak<Stand>> = Mutex::const_new(Weak::new());
    shared(&SHARED, async || {
        let builder = FleetBuilder::new(env!("CARGO_BIN_EXE_gristmill"))
            .with("http.max_text_bytes", MAX_TEXT_BYTES)
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

/// A name that no other check uses.
pub(crate) fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
