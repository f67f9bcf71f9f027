//! `topic create`, `alter`, `add-partitions` and `delete`: each one request, answered when every shard knows of it.

use clap::Args;
use ringmain_client::Client;
use ringmain_client::ClientError;
use ringmain_wire::ids::TopicId;
use ringmain_wire::native::messages::{AlterTopicRequest, CreateTopicRequest, TopicDescription};
use serde::Serialize;

use super::describe::{TopicDocument, durability};
use super::setting::Setting;
use crate::cli::arguments::{BrokerArguments, Format};
use crate::cli::failure::Failure;
use crate::cli::output::{write_document, write_text};
use crate::cli::session::with_client;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmain topic create orders --partitions 4
  ringmain topic create images --partitions 1 --config max.message.bytes=4000000")]
pub(in crate::cli) struct CreateArguments {
    /// Its name: 1 to 249 of a-z A-Z 0-9 . _ -
    name: String,
    /// Partitions.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    partitions: u32,
    /// Replicas of each partition.
    #[arg(long, value_name = "R", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    replication_factor: u16,
    /// A setting that differs from its default; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = Setting::parse)]
    config: Vec<Setting>,
    #[command(flatten)]
    broker: BrokerArguments,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmain topic alter images --set max.message.bytes=8000000
  ringmain topic alter images --unset max.message.bytes")]
pub(in crate::cli) struct AlterArguments {
    /// Its name.
    name: String,
    /// A setting to change; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", alias = "config", value_parser = Setting::parse, required_unless_present = "unset")]
    set: Vec<Setting>,
    /// A setting to put back to its default; may be repeated.
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    #[command(flatten)]
    broker: BrokerArguments,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AddPartitionsArguments {
    /// Its name.
    name: String,
    /// Partitions there shall be, all together.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    partitions: u32,
    #[command(flatten)]
    broker: BrokerArguments,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DeleteArguments {
    /// Its name.
    name: String,
    #[command(flatten)]
    broker: BrokerArguments,
}

/// Creates a topic.
pub(super) fn create(arguments: CreateArguments, format: Format) -> Result<(), Failure> {
    let CreateArguments { name, partitions, replication_factor, config, broker } = arguments;
    let configs = config.into_iter().map(Setting::into_entry).collect();
    let request = CreateTopicRequest { name, partitions, replication_factor, configs, validate_only: false };
    let created = change(&broker, async |client: Client| client.create_topic(request).await)?;
    tell(&created, format, |topic| {
        let (partitions, replicas) = (topic.partitions.len(), topic.replication_factor);
        format!(
            "created {}: partitions {partitions}, replication factor {replicas}, {}\n",
            topic.name,
            durability(topic)
        )
    })
}

/// Changes settings.
pub(super) fn alter(arguments: AlterArguments, format: Format) -> Result<(), Failure> {
    let AlterArguments { name, set, unset, broker } = arguments;
    if let Some(key) = unset.iter().find(|key| set.iter().any(|setting| setting.key() == **key)) {
        return Err(Failure::usage(format!("--set and --unset of {key} contradict each other"))
            .hint("give one of them"));
    }
    let set = set.into_iter().map(Setting::into_entry).collect();
    let request = AlterTopicRequest { name, set, unset };
    let altered = change(&broker, async |client: Client| client.alter_topic(request).await)?;
    tell(&altered, format, |topic| {
        let configs = topic.configs.iter().map(|entry| format!("{}={}", entry.key, entry.value));
        let configs = configs.collect::<Vec<_>>().join(" ");
        let configs = if configs.is_empty() { "all settings at their defaults" } else { &configs };
        format!("altered {}: {configs}\n", topic.name)
    })
}

/// Raises the number of partitions.
pub(super) fn add_partitions(arguments: &AddPartitionsArguments, format: Format) -> Result<(), Failure> {
    let AddPartitionsArguments { name, partitions, broker } = arguments;
    let grown = change(broker, async |client: Client| client.add_partitions(name, *partitions).await)?;
    tell(&grown, format, |topic| format!("{} has {} partitions now\n", topic.name, topic.partitions.len()))
}

/// Deletes a topic.
pub(super) fn delete(arguments: &DeleteArguments, format: Format) -> Result<(), Failure> {
    /// Fields may only be added: programs read them.
    #[derive(Serialize)]
    struct Deleted<'a> {
        name: &'a str,
        id: String,
    }

    let DeleteArguments { name, broker } = arguments;
    let id: TopicId = change(broker, async |client: Client| client.delete_topic(name).await)?;
    match format {
        Format::Json => write_document(&Deleted { name, id: id.to_string() }),
        Format::Text => write_text(&format!("deleted {name}\n")),
    }
}

fn change<T>(
    broker: &BrokerArguments,
    request: impl AsyncFnOnce(Client) -> Result<T, ClientError>,
) -> Result<T, Failure> {
    with_client(broker, async |client| Ok(request(client).await?))
}

fn tell(
    topic: &TopicDescription,
    format: Format,
    text: impl FnOnce(&TopicDescription) -> String,
) -> Result<(), Failure> {
    match format {
        Format::Json => write_document(&TopicDocument::without_offsets(topic)),
        Format::Text => write_text(&text(topic)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        alter: AlterArguments,
    }

    #[test]
    fn a_key_that_is_set_and_unset_is_refused_before_anyone_is_asked() {
        let arguments = ["alter", "orders", "--set", "a=1", "--set", "b=2", "--unset", "b"];
        let line = Line::try_parse_from(arguments).expect("arguments");
        let refused = Failure::usage("--set and --unset of b contradict each other");
        assert_eq!(alter(line.alter, Format::Text), Err(refused.hint("give one of them")));
    }
}
