//! Segment files: record batches byte for byte as produced, back to back, and the sparse index beside a sealed one.
//!
//! How many bytes of a segment count stands in its partition's state; what lies behind them is void.

mod index;
mod scan;

pub use index::{
    FORMAT_VERSION, INDEX_FILE_BYTES_MAX, Index, IndexBuilder, IndexDamage, IndexEntry, IndexFooter,
};
pub use scan::{Scan, ScanEnd, ScannedBatch, SegmentDamage};
