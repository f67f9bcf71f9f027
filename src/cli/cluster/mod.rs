//! `ringmain cluster …`.

mod health;
mod info;

use clap::Subcommand;

use self::health::HealthArguments;
use self::info::InfoArguments;
use super::arguments::Format;
use super::failure::Failure;
use super::not_yet::Ignored;

#[derive(Debug, Subcommand)]
pub(super) enum ClusterVerb {
    /// Show the cluster's nodes and shards: what they hold in memory and on disk, and what they have done.
    Info(InfoArguments),
    /// Say whether the node serves as it should; exit code 10 where it does not.
    Health(HealthArguments),
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
            Self::Info(_) | Self::Health(_) => None,
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
        ClusterVerb::Health(arguments) => health::run(arguments, format),
        ClusterVerb::Reassign(_) | ClusterVerb::Decommission(_) | ClusterVerb::Balance(_) => {
            unreachable!("refused before")
        }
    }
}
