//! Native frames: header, lengths and checksum.

use ringmain_wire::ids::TopicId;
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::{self, Api, FRAME_BYTES_MAX_DEFAULT, FrameHeader, HEADER_BYTES};
use ringmain_wire::native::messages::{HelloRequest, ProducePart, ProduceRequest};

use crate::fuzz::Verdict;

const CRC_AT: usize = 20;

/// Splits frame after frame off the front, as a connection does with what it has received.
pub(in crate::fuzz) fn run(input: &[u8]) -> Verdict {
    let mut rest = input;
    let mut verdict = Verdict::Refused;
    loop {
        let header = FrameHeader::parse(rest);
        match frame::split(rest, FRAME_BYTES_MAX_DEFAULT) {
            Ok(Some((found, frame_bytes))) => {
                assert_eq!(header, Ok(Some(found.header)));
                assert_eq!(found.header.frame_bytes(), frame_bytes as u64);
                assert_eq!(HEADER_BYTES + found.body.len() + found.payload.len(), frame_bytes);
                assert_eq!(found.header.verify(&rest[..frame_bytes]), Ok(()));
                rest = &rest[frame_bytes..];
                verdict = Verdict::Accepted;
            }
            Ok(None) => {
                let needs_more =
                    header.map(|header| header.is_none_or(|it| it.frame_bytes() > rest.len() as u64));
                assert_eq!(needs_more, Ok(true), "all of a frame is there and more is asked for");
                return verdict;
            }
            Err(error) => {
                assert_ne!(error.code(), ErrorCode::None);
                assert!(!error.to_string().is_empty());
                return verdict;
            }
        }
    }
}

/// Requests with and without payload, an answer, an error, and several in one.
pub(in crate::fuzz) fn seeds() -> Vec<Vec<u8>> {
    let hello = HelloRequest { version_min: 1, version_max: 1, ..HelloRequest::default() };
    let part = ProducePart { topic: TopicId([7; 16]), length: 11, ..ProducePart::default() };
    let produce = ProduceRequest { acks: -1, timeout_ms: 30_000, parts: vec![part] };
    let encoded = [
        frame::encode(Api::Hello.number(), false, 0, 0, &hello, 0).to_vec(),
        [&frame::encode(Api::Produce.number(), false, 0, 1, &produce, 11)[..], b"eleven byte"].concat(),
        frame::encode_error(Api::Fetch.number(), 2, ErrorCode::NotLeader, "elsewhere").to_vec(),
    ];
    let all = encoded.concat();
    encoded.into_iter().chain([all]).collect()
}

/// Makes the checksum of every frame right, as far as the lengths lead from one to the next.
pub(crate) fn seal(input: &mut [u8]) {
    let mut rest = input;
    while let Ok(Some(header)) = FrameHeader::parse(rest) {
        let body_end = HEADER_BYTES.saturating_add(header.body_length as usize);
        let Some(body) = rest.get(HEADER_BYTES..body_end) else { return };
        let crc = crc32c::crc32c_append(crc32c::crc32c(&rest[..CRC_AT]), body);
        rest[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        let Some((_, behind)) = rest.split_at_mut_checked(header.frame_bytes() as usize) else { return };
        rest = behind;
    }
}
