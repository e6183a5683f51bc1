//! What this program is: told by `sluice --version`.

use std::sync::LazyLock;

use gateway::store::{LAYOUT, OLDEST_LAYOUT};

/// The version, the commit where the build knew it (see `build.rs`), and which state files a gateway of it opens.
pub static LONG: LazyLock<String> = LazyLock::new(|| {
    let commit = option_env!("SLUICE_COMMIT").map(|commit| format!("\ncommit: {commit}")).unwrap_or_default();
    format!(
        "{}{commit}\nstate: writes layout {LAYOUT}, takes over {OLDEST_LAYOUT} to {}",
        env!("CARGO_PKG_VERSION"),
        LAYOUT - 1
    )
});
