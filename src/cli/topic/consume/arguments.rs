//! The arguments of `topic consume`.

use clap::Args;

use super::position::{From, To};
use super::template::Template;
use crate::cli::arguments::BrokerArguments;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmain topic consume orders                        # from the start, then wait for more; Ctrl-C ends it
  ringmain topic consume orders -e                     # what is there now
  ringmain topic consume orders --from -10 -e          # the last ten of each partition
  ringmain topic consume orders --from @-1h -f '%T %p/%o %k: %v\\n'
  ringmain topic consume orders -n 1 --format json

Template: %t topic, %p partition, %o offset, %k key, %v or %s value, %T timestamp in milliseconds, %h headers,
%K and %S lengths of key and value (-1: null), %% percent; \\n \\t \\r \\\\ \\xNN")]
pub(in crate::cli) struct ConsumeArguments {
    /// The topic.
    pub(super) topic: String,
    /// Only these partitions; may be repeated or separated by commas [default: all].
    #[arg(short = 'p', long = "partition", value_name = "PARTITION", value_delimiter = ',')]
    pub(super) partitions: Vec<u32>,
    /// Where to begin in each partition: -N is that many before the end; TIME is milliseconds, RFC 3339, or an age
    /// such as -1h.
    #[arg(
        long,
        value_name = "start|end|OFFSET|-N|@TIME",
        default_value = "start",
        value_parser = From::parse,
        allow_hyphen_values = true
    )]
    pub(super) from: From,
    /// Where to stop in each partition, before that record; end is the end as it is at the start.
    #[arg(long, value_name = "end|OFFSET|@TIME", value_parser = To::parse)]
    to: Option<To>,
    /// Stop at the end as it is at the start: --to end.
    #[arg(short = 'e', conflicts_with = "to")]
    until_end: bool,
    /// Stop after so many records.
    #[arg(short = 'n', long, value_name = "N")]
    pub(super) count: Option<u64>,
    /// Consumer group (not in this version).
    #[arg(long, value_name = "GROUP", hide = true)]
    pub(in crate::cli) group: Option<String>,
    /// How each record is printed, nothing appended [default: the value and a newline].
    #[arg(short = 'f', long, value_name = "TEMPLATE", value_parser = Template::parse, allow_hyphen_values = true)]
    pub(super) template: Option<Template>,
    #[command(flatten)]
    pub(super) broker: BrokerArguments,
}

impl ConsumeArguments {
    /// Where to stop.
    pub(super) fn to(&self) -> Option<To> {
        if self.until_end { Some(To::End) } else { self.to }
    }
}
