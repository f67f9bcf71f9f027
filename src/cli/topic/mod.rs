//! `ringmain topic …`.

mod administer;
mod consume;
mod describe;
mod list;
mod produce;
mod setting;

use clap::Subcommand;

use self::administer::{AddPartitionsArguments, AlterArguments, CreateArguments, DeleteArguments};
pub(super) use self::consume::ConsumeArguments;
use self::describe::DescribeArguments;
use self::list::ListArguments;
use self::produce::ProduceArguments;
use super::arguments::Format;
use super::failure::Failure;
use super::not_yet::Ignored;

#[derive(Debug, Subcommand)]
pub(super) enum TopicVerb {
    /// Create a topic.
    Create(CreateArguments),
    /// List the topics.
    List(ListArguments),
    /// Show a topic: its partitions, offsets, settings, and what an acknowledgement means.
    Describe(DescribeArguments),
    /// Change settings of a topic.
    Alter(AlterArguments),
    /// Raise the number of partitions of a topic.
    AddPartitions(AddPartitionsArguments),
    /// Delete a topic and its records.
    Delete(DeleteArguments),
    #[command(hide = true)]
    Undelete(Ignored),
    /// Write lines of stdin or files to a topic, a record each.
    Produce(ProduceArguments),
    /// Read records of a topic.
    Consume(ConsumeArguments),
}

/// Runs one of them.
pub(super) fn run(verb: TopicVerb, format: Format) -> Result<(), Failure> {
    match verb {
        TopicVerb::Create(arguments) => administer::create(arguments, format),
        TopicVerb::List(arguments) => list::run(&arguments, format),
        TopicVerb::Describe(arguments) => describe::run(&arguments, format),
        TopicVerb::Alter(arguments) => administer::alter(arguments, format),
        TopicVerb::AddPartitions(arguments) => administer::add_partitions(&arguments, format),
        TopicVerb::Delete(arguments) => administer::delete(&arguments, format),
        TopicVerb::Undelete(_) => unreachable!("refused before"),
        TopicVerb::Produce(arguments) => produce::run(&arguments, format),
        TopicVerb::Consume(arguments) => consume::run(&arguments, format),
    }
}
