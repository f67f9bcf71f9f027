//! The attribute bits of a batch.

use super::{BatchError, Codec};

/// The attribute bits of a batch; bits 7 to 15 have no meaning yet and are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub u16);

/// What the timestamps of a batch mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// Each record carries the time its producer gave it.
    CreateTime,
    /// The broker wrote the time of the append into `max_timestamp`, and it holds for every record (KIP-32).
    LogAppendTime,
}

const CODEC_MASK: u16 = 0b111;
const LOG_APPEND_TIME: u16 = 1 << 3;
const TRANSACTIONAL: u16 = 1 << 4;
const CONTROL: u16 = 1 << 5;

impl Attributes {
    /// A plain batch of `codec` with timestamps from its producer.
    pub const fn with_codec(codec: Codec) -> Self {
        Self(codec.bits() as u16)
    }

    /// The same, with the time of the append for every record.
    pub(super) const fn with_append_time(self) -> Self {
        Self(self.0 | LOG_APPEND_TIME)
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// [`BatchError::CodecBits`] for the three values that name no codec.
    pub fn codec(self) -> Result<Codec, BatchError> {
        let bits = (self.0 & CODEC_MASK) as u8;
        Codec::from_bits(bits).ok_or(BatchError::CodecBits { bits })
    }

    /// What the timestamps mean.
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & LOG_APPEND_TIME == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// Whether the batch belongs to a transaction.
    pub const fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL != 0
    }

    /// Whether the batch holds markers written by a broker, which consumers skip.
    pub const fn is_control(self) -> bool {
        self.0 & CONTROL != 0
    }
}
