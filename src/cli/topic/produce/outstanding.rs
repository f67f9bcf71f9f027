//! Records on their way, collected in the order in which their outcomes become known.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

use tokio::task::unconstrained;

/// Futures with a companion each, given back in the order in which they end.
pub(super) struct Outstanding<F: Future, C> {
    /// From the oldest that is not taken; `None` are those taken out of turn.
    entries: VecDeque<Option<(State<F>, C)>>,
    /// Number of the first entry.
    first: u64,
    count: usize,
    ready: Arc<Mutex<Ready>>,
}

enum State<F: Future> {
    Running(F),
    Ended(F::Output),
}

/// Numbers of the entries that were woken, and who waits for one.
#[derive(Debug, Default)]
struct Ready {
    numbers: VecDeque<u64>,
    waiting: Option<Waker>,
}

impl<F: Future + Unpin, C> Outstanding<F, C> {
    pub(super) fn new() -> Self {
        Self { entries: VecDeque::new(), first: 0, count: 0, ready: Arc::default() }
    }

    /// How many are not taken yet.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// Adds a future.
    pub(super) fn push(&mut self, mut future: F, companion: C) {
        let number = self.first + self.entries.len() as u64;
        // Polled at once, so that it is in line as soon as it ends: before any that ends after it.
        let state = match self.poll(&mut future, number) {
            Poll::Ready(outcome) => {
                lock(&self.ready).numbers.push_back(number);
                State::Ended(outcome)
            }
            Poll::Pending => State::Running(future),
        };
        self.entries.push_back(Some((state, companion)));
        self.count += 1;
    }

    /// The next outcome that is known already.
    pub(super) fn take(&mut self) -> Option<(F::Output, C)> {
        loop {
            let number = lock(&self.ready).numbers.pop_front()?;
            let place = number.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
            let entry = place.and_then(|place| self.entries.get_mut(place)).and_then(Option::take);
            // Woken twice, and taken the first time.
            let (Some(place), Some((state, companion))) = (place, entry) else { continue };
            let state = match state {
                State::Running(mut future) => match self.poll(&mut future, number) {
                    Poll::Ready(outcome) => State::Ended(outcome),
                    Poll::Pending => State::Running(future),
                },
                ended @ State::Ended(_) => ended,
            };
            match state {
                State::Ended(outcome) => {
                    self.count -= 1;
                    while let Some(None) = self.entries.front() {
                        self.entries.pop_front();
                        self.first += 1;
                    }
                    return Some((outcome, companion));
                }
                running @ State::Running(_) => self.entries[place] = Some((running, companion)),
            }
        }
    }

    /// Waits for the next outcome; for ever while nothing is outstanding. Nothing is lost when it is dropped.
    pub(super) async fn next(&mut self) -> (F::Output, C) {
        poll_fn(|context| {
            // Registered before looking, so that an outcome in between is not missed.
            lock(&self.ready).waiting = Some(context.waker().clone());
            match self.take() {
                Some(taken) => {
                    lock(&self.ready).waiting = None;
                    Poll::Ready(taken)
                }
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Without tokio's budget: a poll that it stops would look like an end out of turn.
    fn poll(&self, future: &mut F, number: u64) -> Poll<F::Output> {
        let waker = Waker::from(Arc::new(EntryWaker { ready: Arc::clone(&self.ready), number }));
        Pin::new(&mut unconstrained(future)).poll(&mut Context::from_waker(&waker))
    }
}

/// Puts the number of one entry into the line of those that are ready.
struct EntryWaker {
    ready: Arc<Mutex<Ready>>,
    number: u64,
}

impl Wake for EntryWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiting = {
            let mut ready = lock(&self.ready);
            ready.numbers.push_back(self.number);
            ready.waiting.take()
        };
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

fn lock(ready: &Mutex<Ready>) -> MutexGuard<'_, Ready> {
    ready.lock().expect("nothing panics while it holds the lock")
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn outcomes_come_in_the_order_in_which_they_become_known() {
        let mut outstanding = Outstanding::new();
        let mut senders = VecDeque::new();
        for number in 0..5 {
            let (sender, receiver) = oneshot::channel();
            senders.push_back(sender);
            outstanding.push(receiver, number);
        }
        assert_eq!(outstanding.take(), None);
        for place in [3, 0, 2] {
            let sender = senders.remove(place).expect("not sent yet");
            assert_eq!(sender.send(place), Ok(()));
        }
        assert_eq!(outstanding.len(), 5);
        assert_eq!(outstanding.take(), Some((Ok(3), 3)));
        assert_eq!(outstanding.take(), Some((Ok(0), 0)));
        // The third of 1, 2 and 4 is 4.
        assert_eq!(outstanding.take(), Some((Ok(2), 4)));
        assert_eq!(outstanding.take(), None);
        assert_eq!(outstanding.len(), 2);
        // Numbers go on behind what was taken.
        let (sender, receiver) = oneshot::channel();
        outstanding.push(receiver, 9);
        assert_eq!(outstanding.take(), None);
        assert_eq!(sender.send(7), Ok(()));
        assert_eq!(outstanding.take(), Some((Ok(7), 9)));
        // Sender 1 gone: an outcome, too.
        drop(senders.pop_front());
        assert!(matches!(outstanding.take(), Some((Err(_), 1))));
        assert_eq!(outstanding.len(), 1);
    }

    #[tokio::test]
    async fn a_spent_budget_neither_blocks_nor_reorders() {
        let mut outstanding = Outstanding::new();
        let mut senders = Vec::new();
        for number in 0..1000 {
            let (sender, receiver) = oneshot::channel();
            senders.push(sender);
            outstanding.push(receiver, number);
        }
        for (number, sender) in (0..).zip(senders) {
            assert_eq!(sender.send(number), Ok(()));
        }
        for number in 0..1000 {
            assert_eq!(outstanding.take(), Some((Ok(number), number)));
        }
        assert_eq!(outstanding.len(), 0);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_from_another_thread() {
        let mut outstanding = Outstanding::new();
        let (sender, receiver) = oneshot::channel();
        outstanding.push(receiver, "companion");
        let other = std::thread::spawn(move || sender.send(1));
        assert_eq!(outstanding.next().await, (Ok(1), "companion"));
        assert!(matches!(other.join(), Ok(Ok(()))));
    }
}
