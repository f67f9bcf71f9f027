//! `topic list`.

use clap::Args;
use ringmain_wire::native::messages::TopicSummary;
use serde::Serialize;

use crate::cli::arguments::{BrokerArguments, Format};
use crate::cli::failure::Failure;
use crate::cli::output::{Table, write_document, write_text};
use crate::cli::session::with_client;

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArguments {
    /// Also those of the broker itself.
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    broker: BrokerArguments,
}

/// Prints all topics by name.
pub(super) fn run(arguments: &ListArguments, format: Format) -> Result<(), Failure> {
    let topics =
        with_client(&arguments.broker, async |client| Ok(client.list_topics(arguments.internal).await?))?;
    match format {
        Format::Json => write_document(&document(&topics)),
        Format::Text => write_text(&table(&topics).render()),
    }
}

/// Fields may only be added: programs read them.
#[derive(Serialize)]
struct ListDocument<'a> {
    topics: Vec<TopicLine<'a>>,
}

#[derive(Serialize)]
struct TopicLine<'a> {
    name: &'a str,
    id: String,
    partitions: u32,
    replication_factor: u16,
}

fn document(topics: &[TopicSummary]) -> ListDocument<'_> {
    ListDocument { topics: topics.iter().map(TopicLine::new).collect() }
}

impl<'a> TopicLine<'a> {
    fn new(topic: &'a TopicSummary) -> Self {
        let &TopicSummary { ref name, id, partitions, replication_factor } = topic;
        Self { name, id: id.to_string(), partitions, replication_factor }
    }
}

fn table(topics: &[TopicSummary]) -> Table {
    let mut table = Table::new(&["NAME", ">PARTITIONS", ">REPLICAS", "ID"]);
    for TopicSummary { name, id, partitions, replication_factor } in topics {
        table.row(vec![name.clone(), partitions.to_string(), replication_factor.to_string(), id.to_string()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use ringmain_wire::ids::TopicId;

    use super::*;

    #[test]
    fn the_document_and_the_table_say_the_same() {
        let topics = [TopicSummary {
            name: "orders".to_owned(),
            id: TopicId([1; 16]),
            partitions: 4,
            replication_factor: 1,
        }];
        assert_eq!(
            serde_json::to_string(&document(&topics)).expect("written"),
            "{\"topics\":[{\"name\":\"orders\",\"id\":\"01010101-0101-0101-0101-010101010101\",\
             \"partitions\":4,\"replication_factor\":1}]}"
        );
        assert_eq!(
            table(&topics).render(),
            "NAME    PARTITIONS  REPLICAS  ID\n\
             orders           4         1  01010101-0101-0101-0101-010101010101\n"
        );
    }
}
