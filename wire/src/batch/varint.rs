//! Zigzag variable-length numbers, as record fields use them (the encoding of protobuf's `sint32` and `sint64`).

use super::BatchError;

const I32_BYTES_MAX: usize = 5;
const I64_BYTES_MAX: usize = 10;
/// The bits of a number that its last byte can hold, seven being in each byte before; also ends the number.
const I32_LAST_BYTE_MAX: u8 = 0x0f;
const I64_LAST_BYTE_MAX: u8 = 0x01;

/// Takes a number of at most 32 bits from the front of `input`.
#[inline]
pub(super) fn read_i32(input: &mut &[u8]) -> Result<i32, BatchError> {
    let zigzag = read_unsigned::<I32_BYTES_MAX>(input, I32_LAST_BYTE_MAX)? as u32;
    Ok((zigzag >> 1) as i32 ^ -((zigzag & 1) as i32))
}

/// Takes a number of at most 64 bits from the front of `input`.
#[inline]
pub(super) fn read_i64(input: &mut &[u8]) -> Result<i64, BatchError> {
    let zigzag = read_unsigned::<I64_BYTES_MAX>(input, I64_LAST_BYTE_MAX)?;
    Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
}

/// Appends `value`; a value of 32 bits takes the same bytes as a 32-bit number.
#[inline]
pub(super) fn write_i64(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Bytes that [`write_i64`] appends.
#[inline]
pub(super) const fn encoded_bytes(value: i64) -> usize {
    let bits = u64::BITS - (zigzag(value) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

const fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

#[inline]
fn read_unsigned<const BYTES_MAX: usize>(input: &mut &[u8], last_byte_max: u8) -> Result<u64, BatchError> {
    // Most numbers of most records are one byte.
    if let Some((&first, rest)) = input.split_first()
        && first < 0x80
    {
        *input = rest;
        return Ok(u64::from(first));
    }
    let mut value = 0_u64;
    for (place, &byte) in input.iter().take(BYTES_MAX).enumerate() {
        if place + 1 == BYTES_MAX && byte > last_byte_max {
            return Err(BatchError::Varint { bytes_max: BYTES_MAX });
        }
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            *input = &input[place + 1..];
            return Ok(value);
        }
    }
    Err(BatchError::RecordTruncated)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::tests::generated::seeded;

    fn encoded(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        write_i64(&mut out, value);
        out
    }

    #[test]
    fn numbers_take_the_bytes_that_kafka_gives_them() {
        // Values of Kafka's ByteUtilsTest, in its `x` column.
        assert_eq!(encoded(0), [0x00]);
        assert_eq!(encoded(-1), [0x01]);
        assert_eq!(encoded(1), [0x02]);
        assert_eq!(encoded(63), [0x7e]);
        assert_eq!(encoded(-64), [0x7f]);
        assert_eq!(encoded(64), [0x80, 0x01]);
        assert_eq!(encoded(-65), [0x81, 0x01]);
        assert_eq!(encoded(i64::from(i32::MAX)), [0xfe, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(encoded(i64::from(i32::MIN)), [0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(encoded(i64::MIN), [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    }

    #[test]
    fn numbers_that_leave_their_type_are_refused() {
        let too_long = BatchError::Varint { bytes_max: 5 };
        assert_eq!(read_i32(&mut [0x80, 0x80, 0x80, 0x80, 0x80, 0x00].as_slice()), Err(too_long));
        assert_eq!(read_i32(&mut [0x80, 0x80, 0x80, 0x80, 0x10].as_slice()), Err(too_long));
        assert_eq!(read_i32(&mut [0xfe, 0xff, 0xff, 0xff, 0x0f].as_slice()), Ok(i32::MAX));
        let too_long = BatchError::Varint { bytes_max: 10 };
        let mut bytes = [0xff; 11];
        assert_eq!(read_i64(&mut bytes.as_slice()), Err(too_long));
        bytes[9] = 0x02;
        assert_eq!(read_i64(&mut bytes.as_slice()), Err(too_long));
        bytes[9] = 0x01;
        assert_eq!(read_i64(&mut bytes.as_slice()), Ok(i64::MIN));
    }

    #[test]
    fn a_number_that_ends_early_is_truncated() {
        assert_eq!(read_i32(&mut [].as_slice()), Err(BatchError::RecordTruncated));
        assert_eq!(read_i32(&mut [0x80; 4].as_slice()), Err(BatchError::RecordTruncated));
        assert_eq!(read_i64(&mut [0x80; 9].as_slice()), Err(BatchError::RecordTruncated));
    }

    proptest! {
        #![proptest_config(seeded(1_000))]

        #[test]
        fn any_number_comes_back_and_takes_the_bytes_predicted(
            wide in any::<i64>(),
            shift in 0..64_u32,
            tail in any::<u8>(),
        ) {
            let value = wide >> shift;
            let mut bytes = encoded(value);
            prop_assert_eq!(bytes.len(), encoded_bytes(value));
            bytes.push(tail);
            let mut input = bytes.as_slice();
            prop_assert_eq!(read_i64(&mut input), Ok(value));
            prop_assert_eq!(input, [tail]);
            let mut input = bytes.as_slice();
            match i32::try_from(value) {
                Ok(narrow) => prop_assert_eq!(read_i32(&mut input), Ok(narrow)),
                Err(_) => prop_assert_eq!(read_i32(&mut input), Err(BatchError::Varint { bytes_max: 5 })),
            }
        }
    }
}
