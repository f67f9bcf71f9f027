//! What lies behind damage: decides between rot and a torn tail, and counts what a cut removes.

use super::source::{LogSource, ReadWindow, usable_bytes};
use super::{ReplayConfig, ReplayError};
use crate::block::BLOCK_BYTES;
use crate::group::{self, GroupHeader, Sequence};

/// A place in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: u32,
    pub(super) position: u64,
}

/// What was found from a place on; only as much as was needed, see [`look_ahead`].
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// The first group of this log with an intact header.
    pub(super) first: Option<(Place, Sequence)>,
    /// The highest mark in an intact header, or the one known before.
    pub(super) durable_upto: Sequence,
    pub(super) groups_complete: u32,
    pub(super) groups_damaged: u32,
    /// Blocks that are neither zero nor part of an intact group of any log.
    pub(super) blocks_unknown: u64,
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    pub(super) from: Place,
    /// Groups behind this one.
    pub(super) after: Sequence,
    /// The highest mark known so far.
    pub(super) durable_upto: Sequence,
    /// The last group hit by the damage, if it is known before a group behind it has been found.
    pub(super) lost_upto: Option<Sequence>,
}

/// Scans, block by block, for groups of this log, from a place to the end of its last file.
///
/// Ends early once all that the damage hit is known to have been durable: it is rot then. Otherwise every block has been
/// looked at.
pub(super) fn look_ahead(
    config: &ReplayConfig,
    source: &mut dyn LogSource,
    window: &mut ReadWindow,
    search: Search,
) -> Result<Ahead, ReplayError> {
    let Search { from, after, durable_upto, lost_upto } = search;
    let mut ahead = Ahead { durable_upto, ..Ahead::default() };
    let mut newest = after;
    for file in from.file..=config.last_file {
        let mut position = if file == from.file { from.position } else { 0 };
        let end = usable_bytes(source, file)?;
        while position < end {
            let lost_upto = lost_upto.or(ahead.first.map(|(_, sequence)| sequence.previous()));
            if lost_upto.is_some_and(|lost_upto| lost_upto <= ahead.durable_upto) {
                return Ok(ahead);
            }
            let place = Place { file, position };
            let block = window.peek(source, file, position, BLOCK_BYTES)?;
            if block.is_empty() {
                break;
            }
            let is_zero = is_zero(block);
            let Ok(header) = GroupHeader::decode(block, config.salt) else {
                ahead.blocks_unknown += u64::from(!is_zero);
                position += BLOCK_BYTES as u64;
                continue;
            };
            let ours = config.owns(&header);
            let length = header.length as usize;
            let is_complete = group::parse(window.peek(source, file, position, length)?, config.salt).is_ok();
            if ours && header.sequence > newest {
                newest = header.sequence;
                ahead.first.get_or_insert((place, header.sequence));
                ahead.durable_upto = ahead.durable_upto.max(header.durable_upto);
                if is_complete {
                    ahead.groups_complete += 1;
                } else {
                    ahead.groups_damaged += 1;
                }
                position += length as u64;
            } else if !ours && is_complete {
                // Only where its last byte still stands has nothing of this log been written over it.
                position += length as u64;
            } else {
                ahead.blocks_unknown += 1;
                position += BLOCK_BYTES as u64;
            }
        }
    }
    Ok(ahead)
}

fn is_zero(block: &[u8]) -> bool {
    const ZEROES: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
    block == &ZEROES[..block.len()]
}
