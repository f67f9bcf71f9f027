//! The orders of the demo: made up, but the same for the same number, and known again when they come back.

use serde::{Deserialize, Serialize};

/// What is sold, and for how many cents.
const DRINKS: &[(&str, u32)] = &[
    ("espresso", 220),
    ("flat white", 340),
    ("oat cortado", 360),
    ("iced tea", 310),
    ("hot chocolate", 390),
];
/// How many customers there are: each is a key.
const CUSTOMERS: u64 = 500;

/// One order, as it stands in a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// Tells the runs of the demo apart.
    pub(super) run: i64,
    /// Counts the orders of a run.
    pub(super) order: u64,
    customer: String,
    drink: String,
    cups: u32,
    cents: u32,
}

impl Order {
    /// The order with that number.
    pub(super) fn make(run: i64, order: u64) -> Self {
        let random = scramble(order);
        let (drink, cents) = DRINKS[(random % DRINKS.len() as u64) as usize];
        let cups = 1 + (random >> 8) as u32 % 4;
        let customer = format!("customer-{}", (random >> 16) % CUSTOMERS);
        Self { run, order, customer, drink: drink.to_owned(), cups, cents: cups * cents }
    }

    /// What keeps a customer's orders in order.
    pub(super) fn key(&self) -> &str {
        &self.customer
    }

    /// For people.
    pub(super) fn words(&self) -> String {
        let Self { order, customer, drink, cups, cents, .. } = self;
        format!("order {order}, {customer}: {cups} x {drink}, {}.{:02}", cents / 100, cents % 100)
    }

    /// As it stands in a record.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an order has text for keys")
    }

    /// An order of this run, if the value is one.
    pub(super) fn recognise(run: i64, value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok().filter(|order: &Self| order.run == run)
    }
}

/// Spreads numbers that follow each other (the finaliser of splitmix64).
fn scramble(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_order_is_known_again_and_others_are_not() {
        let order = Order::make(7, 12);
        let json = order.to_json();
        assert_eq!(Order::recognise(7, json.as_bytes()), Some(order));
        assert_eq!(Order::recognise(8, json.as_bytes()), None, "of another run");
        assert_eq!(Order::recognise(7, b"two coffees"), None);
        assert_eq!(Order::recognise(7, b"{\"run\":7}"), None);
    }

    #[test]
    fn orders_come_from_many_customers() {
        let keys: BTreeSet<String> = (0..1_000).map(|order| Order::make(1, order).key().to_owned()).collect();
        assert!(keys.len() > 300, "{}", keys.len());
    }
}
