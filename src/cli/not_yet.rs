//! What later versions understand: known here by name, so that it is told apart from a typo.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use super::arguments::Command;
use super::bench::BenchVerb;
use super::debug::DebugVerb;
use super::topic::TopicVerb;

/// Nouns of later versions.
#[derive(Debug, Subcommand)]
pub(super) enum NotYet {
    #[command(hide = true)]
    Group(Ignored),
    #[command(hide = true)]
    User(Ignored),
    #[command(hide = true)]
    Acl(Ignored),
    #[command(hide = true)]
    Quota(Ignored),
    #[command(hide = true)]
    Txn(Ignored),
    #[command(hide = true)]
    Mirror(Ignored),
    #[command(hide = true)]
    Dr(Ignored),
    #[command(hide = true)]
    Plan(Ignored),
    #[command(hide = true)]
    Tune(Ignored),
    #[command(hide = true)]
    Generate(Ignored),
}

/// Whatever follows.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(super) struct Ignored {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<OsString>,
}

/// What of a command is not in this version.
pub(super) fn find(command: &Command) -> Option<String> {
    let name = match command {
        Command::NotYet(noun) => noun.name(),
        Command::Topic { verb: TopicVerb::Undelete(_) } => "topic undelete",
        Command::Topic { verb: TopicVerb::Consume(consume) } if consume.group.is_some() => {
            "topic consume --group"
        }
        Command::Bench { verb: BenchVerb::Compare(_) } => "bench compare",
        Command::Bench { verb: BenchVerb::Report(_) } => "bench report",
        Command::Cluster { verb } => verb.not_yet()?,
        Command::Debug { verb: DebugVerb::Bundle(_) } => "debug bundle",
        Command::Serve(_)
        | Command::Demo(_)
        | Command::Config { .. }
        | Command::Completions(_)
        | Command::Topic { .. }
        | Command::Bench { .. }
        | Command::Debug { .. } => return None,
    };
    Some(format!("`{name}`"))
}

impl NotYet {
    const fn name(&self) -> &'static str {
        match self {
            Self::Group(_) => "group",
            Self::User(_) => "user",
            Self::Acl(_) => "acl",
            Self::Quota(_) => "quota",
            Self::Txn(_) => "txn",
            Self::Mirror(_) => "mirror",
            Self::Dr(_) => "dr",
            Self::Plan(_) => "plan",
            Self::Tune(_) => "tune",
            Self::Generate(_) => "generate",
        }
    }
}
