//! What the producer process says, one line an event, each written at once and before it sends anything more in that
//! place.

use core::fmt;

use ringmain_wire::ids::{LeaderEpoch, PartitionIndex, ProducerId};

/// An event in the producer's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It has its producer id, for good.
    Named(ProducerId),
    /// A connection is up, to the broker's start of that leader epoch; what it sends comes after this.
    Connected { connection: u32, start: LeaderEpoch },
    /// A connection is gone; what it received came before this.
    Disconnected { connection: u32 },
    /// A batch was acknowledged: records `first` and following, with the values that follow from their numbers.
    Acknowledged(Acknowledged),
    /// The answer to a mark: everything before it was said before it.
    Marked(u64),
    /// It cannot go on: it was told what it must never be told.
    Failed(String),
}

/// An acknowledged batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    /// The partition.
    pub(super) partition: PartitionIndex,
    /// The offset of its first record.
    pub(super) offset: i64,
    /// Number of its first record, which also is its sequence.
    pub(super) first: u64,
    /// Records.
    pub(super) records: u64,
    /// The broker says that an earlier attempt had stored it.
    pub(super) duplicate: bool,
    /// The broker's start that it was first sent to.
    pub(super) sent_to: LeaderEpoch,
    /// The broker's start that answered.
    pub(super) answered_by: LeaderEpoch,
}

impl Event {
    /// The inverse of `Display`; `None` for anything that it would not have written.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        let mut fields = rest.split(' ');
        let event = match word {
            "named" => Self::Named(ProducerId(fields.next()?.parse().ok()?)),
            "connected" => {
                let connection = fields.next()?.parse().ok()?;
                Self::Connected { connection, start: LeaderEpoch(fields.next()?.parse().ok()?) }
            }
            "disconnected" => Self::Disconnected { connection: fields.next()?.parse().ok()? },
            "acknowledged" => Self::Acknowledged(Acknowledged {
                partition: PartitionIndex(fields.next()?.parse().ok()?),
                offset: fields.next()?.parse().ok()?,
                first: fields.next()?.parse().ok()?,
                records: fields.next()?.parse().ok()?,
                duplicate: fields.next()?.parse().ok()?,
                sent_to: LeaderEpoch(fields.next()?.parse().ok()?),
                answered_by: LeaderEpoch(fields.next()?.parse().ok()?),
            }),
            "marked" => Self::Marked(fields.next()?.parse().ok()?),
            "failed" => return Some(Self::Failed(rest.to_owned())),
            _ => return None,
        };
        fields.next().is_none().then_some(event)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(producer) => write!(out, "named {producer}"),
            Self::Connected { connection, start } => write!(out, "connected {connection} {start}"),
            Self::Disconnected { connection } => write!(out, "disconnected {connection}"),
            Self::Acknowledged(batch) => {
                let Acknowledged { partition, offset, first, records, duplicate, sent_to, answered_by } =
                    batch;
                write!(
                    out,
                    "acknowledged {partition} {offset} {first} {records} {duplicate} {sent_to} {answered_by}"
                )
            }
            Self::Marked(mark) => write!(out, "marked {mark}"),
            Self::Failed(said) => write!(out, "failed {}", said.replace('\n', " ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_read_as_it_was_written() {
        let acknowledged = Acknowledged {
            partition: PartitionIndex(3),
            offset: 70,
            first: 70,
            records: 4,
            duplicate: true,
            sent_to: LeaderEpoch(2),
            answered_by: LeaderEpoch(3),
        };
        let events = [
            Event::Named(ProducerId(7)),
            Event::Connected { connection: 1, start: LeaderEpoch(5) },
            Event::Disconnected { connection: 1 },
            Event::Acknowledged(acknowledged),
            Event::Marked(9),
            Event::Failed("refused, internal: all of it".to_owned()),
        ];
        for event in events {
            assert_eq!(Event::parse(&event.to_string()), Some(event));
        }
    }

    #[test]
    fn what_is_cut_short_is_no_event() {
        for line in ["", "named", "acknowledged 1 2 3", "marked 1 2", "connected 1", "shouted 1"] {
            assert_eq!(Event::parse(line), None, "{line}");
        }
    }
}
