//! What the user of a producer decides.

use core::time::Duration;

use ringmain_wire::batch::Codec;

/// When a produce is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// Never: records that are lost are not noticed, offsets are not known.
    None,
    /// When the leader has it on stable storage.
    Leader,
    /// When every in-sync replica has it on stable storage.
    #[default]
    All,
}

/// How a producer batches, retries and waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerConfig {
    /// When a produce is acknowledged.
    pub acks: Acks,
    /// How batches are compressed.
    pub codec: Codec,
    /// How long a batch waits for more records while nothing keeps it from being sent.
    pub linger: Duration,
    /// A batch is closed when the next record would make it larger, before compression. A single larger record makes a
    /// batch of its own.
    pub batch_bytes: usize,
    /// The largest record, key, value and headers together.
    pub record_bytes_max: usize,
    /// What all records without an outcome may take in memory; beyond it
    /// [`AppendError::Full`](super::AppendError::Full).
    pub buffer_bytes_max: usize,
    /// Whether retries are recognised by the broker, so that a record is stored once. Without it one batch a partition
    /// is in flight, to keep the order. Off with [`Acks::None`].
    pub idempotent: bool,
    /// How long a record may wait for its outcome, retries included.
    pub delivery_timeout: Duration,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            codec: Codec::None,
            linger: Duration::ZERO,
            batch_bytes: 128 * 1024,
            record_bytes_max: 1024 * 1024,
            buffer_bytes_max: 32 * 1024 * 1024,
            idempotent: true,
            delivery_timeout: Duration::from_secs(120),
        }
    }
}
