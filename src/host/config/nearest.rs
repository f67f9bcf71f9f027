//! Finds the key that somebody may have meant.

/// The key of `known` that is most like `key`, if one is at all. Words in another order count as equal: brokers of Kafka
/// say `message.max.bytes` where topics say `max.message.bytes`.
pub(super) fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = words_in_order(key);
    let measured = known.map(|known| (distance(&wanted, &words_in_order(known)), known));
    let (distance, nearest) = measured.min()?;
    (2 * distance <= wanted.len().max(nearest.len())).then_some(nearest)
}

fn words_in_order(key: &str) -> Vec<char> {
    let key = key.to_lowercase();
    let mut words: Vec<_> = key.split(['.', '_', '-']).collect();
    words.sort_unstable();
    words.join(".").chars().collect()
}

/// How many characters have to be inserted, removed or replaced (Levenshtein), in the space of two rows.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, one) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (place, other) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(one != other);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(row[place] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_textbook() {
        let between = |one: &str, other: &str| {
            distance(&one.chars().collect::<Vec<_>>(), &other.chars().collect::<Vec<_>>())
        };
        assert_eq!(between("kitten", "sitting"), 3);
        assert_eq!(between("", "abc"), 3);
        assert_eq!(between("flaw", "lawn"), 2);
        assert_eq!(between("\u{e4}", "a"), 1);
    }

    #[test]
    fn what_is_like_nothing_has_no_nearest() {
        let known = || ["flush.ms", "retention.ms"].into_iter();
        assert_eq!(nearest("retention_ms", known()), Some("retention.ms"));
        assert_eq!(nearest("flush", known()), Some("flush.ms"));
        assert_eq!(nearest("nope", known()), None);
        assert_eq!(nearest("", known()), None);
    }
}
