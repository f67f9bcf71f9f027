//! The broker killed with SIGKILL on a real disk, over and over, under a producer that lives through all of it; and the
//! proof by the disk's own counters that what is acknowledged was synced.
//!
//! [`kills`] is what the binary `crash` runs, [`synced`] is what the binary `synced` runs. Broker and producer are
//! processes of their own: `crash` started in one of its hidden modes. The producer speaks the wire format with nothing
//! of the client's code, and the log is read with nothing of the broker's, so that neither judges itself.
//!
//! That `synced` can fail is shown with `tests/crash/mutations/remove-sync.patch`: applied to a copy of the tree
//! (`patch -p1`), the same command, `cargo run --release --package ringmain-tests --bin synced`, must exit with 1.

pub mod broker;
pub mod error;
pub mod kills;
pub mod producer;
pub mod synced;

mod churn;
pub(crate) mod clock;
pub(crate) mod dice;
mod ledger;
mod log_scan;
pub(crate) mod place;
mod proxy;
mod read_back;
mod report;
pub(crate) mod session;
mod tear;
mod upkeep;
mod workload;
