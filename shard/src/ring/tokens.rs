//! What a completion says about itself: kind, slot and generation in 64 bits.

use ringmain_wire::ids::ShardId;

/// Names an operation in flight. The generation rises with every reuse of the slot, so that a completion that comes
/// twice or too late is caught instead of ending a successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OperationId {
    pub(super) slot: u32,
    /// The lower 24 bits of a count.
    pub(super) generation: u32,
}

/// The `user_data` of a request, given back by its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Of an operation that holds memory.
    Operation(OperationId),
    /// Sent by another shard's ring: there is mail.
    Woken,
    /// A wake-up for this shard did not get there.
    WakeFailed(ShardId),
    /// A cancellation came too late; what it was for completes by itself.
    CancelFailed,
}

const GENERATION_SHIFT: u32 = 32;
const KIND_SHIFT: u32 = 56;
/// Generations wrap here.
pub(super) const GENERATION_MASK: u32 = (1 << (KIND_SHIFT - GENERATION_SHIFT)) - 1;

const OPERATION: u64 = 1;
const WOKEN: u64 = 2;
const WAKE_FAILED: u64 = 3;
const CANCEL_FAILED: u64 = 4;

impl Token {
    pub(super) fn encode(self) -> u64 {
        let (kind, generation, slot) = match self {
            Self::Operation(id) => (OPERATION, id.generation, id.slot),
            Self::Woken => (WOKEN, 0, 0),
            Self::WakeFailed(shard) => (WAKE_FAILED, 0, u32::from(shard.get())),
            Self::CancelFailed => (CANCEL_FAILED, 0, 0),
        };
        assert!(generation <= GENERATION_MASK, "generations wrap before they reach the kind");
        kind << KIND_SHIFT | u64::from(generation) << GENERATION_SHIFT | u64::from(slot)
    }

    /// # Panics
    /// On a value that [`encode`](Self::encode) never gave out.
    pub(super) fn decode(user_data: u64) -> Self {
        let slot = u32::try_from(user_data & u64::from(u32::MAX)).expect("masked");
        let generation =
            u32::try_from(user_data >> GENERATION_SHIFT & u64::from(GENERATION_MASK)).expect("masked");
        match user_data >> KIND_SHIFT {
            OPERATION => Self::Operation(OperationId { slot, generation }),
            WOKEN => Self::Woken,
            WAKE_FAILED => Self::WakeFailed(ShardId(u16::try_from(slot).expect("a shard's id was put in"))),
            CANCEL_FAILED => Self::CancelFailed,
            _ => panic!("a completion carries {user_data:#x}, which was never given out"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_were() {
        let tokens = [
            Token::Operation(OperationId { slot: 0, generation: 0 }),
            Token::Operation(OperationId { slot: u32::MAX, generation: GENERATION_MASK }),
            Token::Operation(OperationId { slot: 7, generation: 0x00ab_cdef }),
            Token::Woken,
            Token::WakeFailed(ShardId(u16::MAX)),
            Token::CancelFailed,
        ];
        for token in tokens {
            assert_eq!(Token::decode(token.encode()), token);
        }
    }

    #[test]
    #[should_panic(expected = "never given out")]
    fn a_foreign_token_is_a_bug() {
        Token::decode(0);
    }
}
