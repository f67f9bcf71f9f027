//! The 24-byte header in front of every native request and answer, and the way from bytes to a checked body and back.
//!
//! | at | field | |
//! |---|---|---|
//! | 0 | magic `u16` | `0x4d52`, "RM" |
//! | 2 | api `u16` | [`Api`] |
//! | 4 | flags `u8` | bit 0: an answer; the others are 0 |
//! | 5 | reserved `u8` | 0 |
//! | 6 | error `u16` | [`ErrorCode`] of an answer; 0 in a request |
//! | 8 | correlation `u32` | chosen by the client, repeated in the answer |
//! | 12 | body_length `u32` | bytes of the rkyv-archived body that follows the header |
//! | 16 | payload_length `u32` | bytes of record batches that follow the body |
//! | 20 | crc `u32` | CRC-32C over bytes 0..20 and the body; batches in the payload carry their own |
//!
//! All numbers are little-endian.

use core::fmt;

use bytes::Bytes;
use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Failure;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::{Archive, Deserialize, Serialize};

use super::errors::ErrorCode;
use super::messages::ErrorBody;

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 24;

/// The protocol version that this code speaks.
pub const PROTOCOL_VERSION: u8 = 1;

/// Largest body. Far above what a request needs: it leaves room for the metadata of a million partitions.
pub const BODY_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// Largest frame, header included, unless configured: one largest batch of 16 MiB and its surroundings.
pub const FRAME_BYTES_MAX_DEFAULT: u32 = 16 * 1024 * 1024 + 64 * 1024;

const MAGIC: u16 = 0x4d52;
const FLAG_ANSWER: u8 = 1;
const CRC_AT: usize = 20;

const _: () = assert!(CRC_AT + 4 == HEADER_BYTES);
const _: () = assert!(BODY_BYTES_MAX < FRAME_BYTES_MAX_DEFAULT);

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Api {
    /// First request of a connection: version negotiation and shard map.
    Hello = 0,
    /// Topics and the owners of their partitions.
    Metadata = 1,
    /// Creates a topic.
    CreateTopic = 2,
    /// Lists topics.
    ListTopics = 3,
    /// Describes a topic with its settings.
    DescribeTopic = 4,
    /// Changes settings of a topic.
    AlterTopic = 5,
    /// Raises the number of partitions of a topic.
    AddPartitions = 6,
    /// Deletes a topic.
    DeleteTopic = 7,
    /// Allocates a producer id.
    InitProducer = 8,
    /// Appends batches.
    Produce = 9,
    /// Reads batches.
    Fetch = 10,
    /// Finds offsets by time.
    ListOffsets = 11,
    /// What the shards of a node hold and have done.
    Stats = 12,
}

impl Api {
    /// Every API, for tables and tests.
    pub const ALL: &'static [Self] = &[
        Self::Hello,
        Self::Metadata,
        Self::CreateTopic,
        Self::ListTopics,
        Self::DescribeTopic,
        Self::AlterTopic,
        Self::AddPartitions,
        Self::DeleteTopic,
        Self::InitProducer,
        Self::Produce,
        Self::Fetch,
        Self::ListOffsets,
        Self::Stats,
    ];

    /// The wire form.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The API behind a wire number; `None` for one of a newer version.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// A stable lower-case name, for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Metadata => "metadata",
            Self::CreateTopic => "create_topic",
            Self::ListTopics => "list_topics",
            Self::DescribeTopic => "describe_topic",
            Self::AlterTopic => "alter_topic",
            Self::AddPartitions => "add_partitions",
            Self::DeleteTopic => "delete_topic",
            Self::InitProducer => "init_producer",
            Self::Produce => "produce",
            Self::Fetch => "fetch",
            Self::ListOffsets => "list_offsets",
            Self::Stats => "stats",
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// What a frame's first 24 bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// [`Api`] number, kept raw so that a request of a newer version can still be answered with an error.
    pub api: u16,
    /// Whether this is an answer.
    pub answer: bool,
    /// [`ErrorCode`] number of an answer; its body is an [`ErrorBody`] unless this is 0.
    pub error: u16,
    /// Chosen by the client, repeated in the answer.
    pub correlation: u32,
    /// Bytes of the body.
    pub body_length: u32,
    /// Bytes of the payload.
    pub payload_length: u32,
}

impl FrameHeader {
    /// Reads the header at the front of `bytes`; `None` when fewer than [`HEADER_BYTES`] are there.
    ///
    /// Its checksum covers the body too and is not verified here: until [`split`] or [`FrameHeader::verify`] has seen the
    /// body, the lengths are only good for deciding how much to receive.
    ///
    /// # Errors
    /// [`FrameError::BadMagic`] or [`FrameError::UnknownFlags`]: the peer does not speak this protocol.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let magic = u16_at(header, 0);
        if magic != MAGIC {
            return Err(FrameError::BadMagic { found: magic });
        }
        let (flags, reserved) = (header[4], header[5]);
        if flags & !FLAG_ANSWER != 0 || reserved != 0 {
            return Err(FrameError::UnknownFlags { flags, reserved });
        }
        Ok(Some(Self {
            api: u16_at(header, 2),
            answer: flags & FLAG_ANSWER != 0,
            error: u16_at(header, 6),
            correlation: u32_at(header, 8),
            body_length: u32_at(header, 12),
            payload_length: u32_at(header, 16),
        }))
    }

    /// Bytes of the whole frame: header, body and payload.
    pub const fn frame_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + self.body_length as u64 + self.payload_length as u64
    }

    /// Refuses a frame above `frame_bytes_max` or with a body above [`BODY_BYTES_MAX`], before room is made for it.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`].
    pub const fn check_size(&self, frame_bytes_max: u32) -> Result<(), FrameError> {
        if self.frame_bytes() > frame_bytes_max as u64 {
            return Err(FrameError::TooLarge { bytes: self.frame_bytes(), max: frame_bytes_max });
        }
        if self.body_length > BODY_BYTES_MAX {
            return Err(FrameError::TooLarge { bytes: self.body_length as u64, max: BODY_BYTES_MAX });
        }
        Ok(())
    }

    /// Checks the checksum of header and body; `bytes` begins with the header and holds at least the whole body.
    /// For those who receive a large payload elsewhere; [`split`] does it for whole frames.
    ///
    /// # Errors
    /// [`FrameError::BadCrc`].
    ///
    /// # Panics
    /// When `bytes` is shorter than header and body.
    pub fn verify(&self, bytes: &[u8]) -> Result<(), FrameError> {
        let body = &bytes[HEADER_BYTES..HEADER_BYTES + self.body_length as usize];
        let (stored, computed) = (u32_at(bytes, CRC_AT), checksum(&bytes[..CRC_AT], body));
        if stored == computed { Ok(()) } else { Err(FrameError::BadCrc { stored, computed }) }
    }
}

/// A whole frame, borrowed from the bytes that were received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its header.
    pub header: FrameHeader,
    /// The archived body, not yet validated: see [`access`] and [`decode`].
    pub body: &'a [u8],
    /// Record batches, untouched.
    pub payload: &'a [u8],
}

/// What can stand in a frame's body: every struct of [`messages`](super::messages).
pub trait Body:
    Sized
    + Archive<
        Archived: for<'a> CheckBytes<HighValidator<'a, Failure>>
                      + Deserialize<Self, HighDeserializer<Failure>>,
    > + for<'a> Serialize<HighSerializer<Vec<u8>, ArenaHandle<'a>, Failure>>
{
}

impl<T> Body for T where
    T: Archive<
            Archived: for<'a> CheckBytes<HighValidator<'a, Failure>>
                          + Deserialize<T, HighDeserializer<Failure>>,
        > + for<'a> Serialize<HighSerializer<Vec<u8>, ArenaHandle<'a>, Failure>>
{
}

/// Takes the frame at the front of `bytes` and says how many bytes it is long; `None` when more bytes are needed.
///
/// # Errors
/// When the peer does not speak the protocol, the frame is above `frame_bytes_max`, or its checksum is wrong.
/// Nothing that follows can be trusted then: the connection has to be closed.
pub fn split(bytes: &[u8], frame_bytes_max: u32) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some(header) = FrameHeader::parse(bytes)? else {
        return Ok(None);
    };
    header.check_size(frame_bytes_max)?;
    // Fits: no more than `frame_bytes_max`, which is a `u32`.
    let frame_bytes = header.frame_bytes() as usize;
    let Some(frame) = bytes.get(..frame_bytes) else {
        return Ok(None);
    };
    header.verify(frame)?;
    let (body, payload) = frame[HEADER_BYTES..].split_at(header.body_length as usize);
    Ok(Some((Frame { header, body, payload }, frame_bytes)))
}

/// The body in place, after checking that every length, pointer and string in it is valid.
///
/// # Errors
/// [`FrameError::Malformed`] when it is not an archived `T`.
pub fn access<T: Body>(body: &[u8]) -> Result<&T::Archived, FrameError> {
    rkyv::access::<T::Archived, Failure>(body).map_err(|Failure| FrameError::Malformed)
}

/// The body as an owned value.
///
/// # Errors
/// [`FrameError::Malformed`] when it is not an archived `T`.
pub fn decode<T: Body>(body: &[u8]) -> Result<T, FrameError> {
    let archived = access::<T>(body)?;
    rkyv::deserialize::<T, Failure>(archived).map_err(|Failure| FrameError::Malformed)
}

/// Header and body in one buffer; `payload_length` bytes of batches have to be sent behind it.
///
/// `error` is 0 in requests and in answers that succeeded. A body above [`BODY_BYTES_MAX`] is encoded all the same and
/// refused by the receiver.
///
/// # Panics
/// When the body does not fit 32-bit lengths, far above anything that is ever encoded.
pub fn encode<T: Body>(
    api: u16,
    answer: bool,
    error: u16,
    correlation: u32,
    body: &T,
    payload_length: u32,
) -> Bytes {
    let mut frame = Vec::with_capacity(FRAME_CAPACITY);
    frame.resize(HEADER_BYTES, 0);
    // Only a body beyond the reach of 32-bit pointers can fail to serialise into memory.
    let mut frame =
        rkyv::api::high::to_bytes_in::<_, Failure>(body, frame).expect("a body within 32-bit lengths");
    let body_length = u32::try_from(frame.len() - HEADER_BYTES).expect("a body within 32-bit lengths");
    frame[0..2].copy_from_slice(&MAGIC.to_le_bytes());
    frame[2..4].copy_from_slice(&api.to_le_bytes());
    frame[4] = if answer { FLAG_ANSWER } else { 0 };
    frame[6..8].copy_from_slice(&error.to_le_bytes());
    frame[8..12].copy_from_slice(&correlation.to_le_bytes());
    frame[12..16].copy_from_slice(&body_length.to_le_bytes());
    frame[16..20].copy_from_slice(&payload_length.to_le_bytes());
    let crc = checksum(&frame[..CRC_AT], &frame[HEADER_BYTES..]);
    frame[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    Bytes::from(frame)
}

/// The answer to a request that failed as a whole.
pub fn encode_error(api: u16, correlation: u32, error: ErrorCode, message: impl Into<String>) -> Bytes {
    encode(api, true, error.number(), correlation, &ErrorBody { message: message.into() }, 0)
}

/// Why bytes are not a frame, or a body is not what its API says. The peer is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The first two bytes are not those of this protocol.
    BadMagic {
        /// What stands there.
        found: u16,
    },
    /// Bits are set that this version gives no meaning to.
    UnknownFlags {
        /// The flags.
        flags: u8,
        /// The reserved byte.
        reserved: u8,
    },
    /// Header or body arrived changed.
    BadCrc {
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// The frame or its body is larger than what is accepted.
    TooLarge {
        /// Bytes it has.
        bytes: u64,
        /// Bytes it may have.
        max: u32,
    },
    /// The body is not an archive of the expected type.
    Malformed,
}

impl FrameError {
    /// The code to answer with, before closing the connection.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::BadMagic { .. } | Self::UnknownFlags { .. } | Self::BadCrc { .. } | Self::Malformed => {
                ErrorCode::MalformedRequest
            }
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadMagic { found } => {
                write!(out, "not the native protocol: begins with {found:#06x} instead of {MAGIC:#06x}")
            }
            Self::UnknownFlags { flags, reserved } => {
                write!(out, "flags {flags:#04x} {reserved:#04x} are of a newer protocol version")
            }
            Self::BadCrc { stored, computed } => {
                write!(out, "checksum is {computed:#010x} instead of {stored:#010x}: changed on the way")
            }
            Self::TooLarge { bytes, max } => write!(out, "{bytes} bytes, above the limit of {max}"),
            Self::Malformed => out.write_str("body cannot be parsed"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Room for the header and the body of a usual request, so that it is encoded with one allocation.
const FRAME_CAPACITY: usize = 256;

fn checksum(header: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header), body)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests;
