//! Who holds memory.

/// Memory of one owner within a shard's budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryOwner {
    /// Who.
    pub name: &'static str,
    /// How much it holds, in bytes.
    pub bytes: usize,
    /// At how much it holds others back, in bytes; `None` where each of many holders has a limit of its own.
    pub bytes_max: Option<usize>,
}
