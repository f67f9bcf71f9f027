//! `ringmain cluster …`.

mod info;

use clap::Subcommand;

use self::info::InfoArguments;
use super::arguments::Format;
use super::failure::Failure;
use super::not_yet::Ignored;

#[derive(Debug, Subcommand)]
pub(super) enum ClusterVerb {
    /// Show the cluster's nodes and shards: what they hold in memory and on disk, and what they have done.
    Info(InfoArguments),
    #[command(hide = true)]
    Health(Ignored),
    #[command(hide = true)]
    Reassign(Ignored),
    #[command(hide = true)]
    Decommission(Ignored),
    #[command(hide = true)]
    Balance(Ignored),
}

impl ClusterVerb {
    /// The command's name where it is not in this version.
    pub(super) const fn not_yet(&self) -> Option<&'static str> {
        match self {
            Self::Info(_) => None,
            Self::Health(_) => Some("cluster health"),
            Self::Reassign(_) => Some("cluster reassign"),
            Self::Decommission(_) => Some("cluster decommission"),
            Self::Balance(_) => Some("cluster balance"),
        }
    }
}

/// Runs one of them.
pub(super) fn run(verb: &ClusterVerb, format: Format) -> Result<(), Failure> {
    match verb {
        ClusterVerb::Info(arguments) => info::run(arguments, format),
        ClusterVerb::Health(_)
        | ClusterVerb::Reassign(_)
        | ClusterVerb::Decommission(_)
        | ClusterVerb::Balance(_) => {
            unreachable!("refused before")
        }
    }
}
