//! The bounded queue in front of a model.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Work that waits, first come, first served. Whoever brought a piece holds its [`Place`]; giving that up takes the piece
/// out again, so that nobody waits behind a client that went away.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    arrived: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    pieces: VecDeque<(u64, T)>,
    next: u64,
    closed: bool,
}

/// Why a piece of work was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As many pieces wait as may.
    Full,
    /// The server is stopping.
    Closed,
}

impl<T> Queue<T> {
    /// An empty queue for `capacity` pieces.
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::new(Waiting {
                pieces: VecDeque::new(),
                next: 0,
                closed: false,
            }),
            arrived: Condvar::new(),
            capacity,
        })
    }

    /// Puts a piece at the end.
    pub fn push(self: &Arc<Self>, piece: T) -> Result<Place<T>, Refusal> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Refusal::Closed);
        }
        if waiting.pieces.len() >= self.capacity {
            return Err(Refusal::Full);
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.pieces.push_back((number, piece));
        drop(waiting);
        self.arrived.notify_one();
        let queue = self.clone();
        Ok(Place { queue, number })
    }

    /// The first piece, if there is one.
    pub fn try_pop(&self) -> Option<T> {
        self.lock().pieces.pop_front().map(|(_, piece)| piece)
    }

    /// The first piece; waits for one. `None` once the queue is closed.
    pub fn pop(&self) -> Option<T> {
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return None;
            }
            if let Some((_, piece)) = waiting.pieces.pop_front() {
                return Some(piece);
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Number of waiting pieces.
    pub fn len(&self) -> usize {
        self.lock().pieces.len()
    }

    /// Takes nothing more, and drops what waits.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let left = std::mem::take(&mut waiting.pieces);
        drop(waiting);
        drop(left);
        self.arrived.notify_all();
    }

    /// A panic elsewhere leaves the list as it was.
    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a piece of work in a queue.
#[derive(Debug)]
#[must_use = "giving up the place takes the work out of the queue"]
pub(crate) struct Place<T> {
    queue: Arc<Queue<T>>,
    number: u64,
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        let mut waiting = self.queue.lock();
        let found = waiting
            .pieces
            .iter()
            .position(|(number, _)| *number == self.number);
        let left = found.and_then(|index| waiting.pieces.remove(index));
        drop(waiting);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_served_in_order_and_bounded() {
        let queue = Queue::new(2);
        let _a = queue.push('a').unwrap();
        let _b = queue.push('b').unwrap();
        assert_eq!(queue.push('c').unwrap_err(), Refusal::Full);
        assert_eq!((queue.pop(), queue.len()), (Some('a'), 1));
        let _c = queue.push('c').unwrap();
        assert_eq!(
            (queue.try_pop(), queue.try_pop(), queue.try_pop()),
            (Some('b'), Some('c'), None)
        );
    }

    #[test]
    fn a_place_given_up_is_free() {
        let queue = Queue::new(2);
        let a = queue.push('a').unwrap();
        let _b = queue.push('b').unwrap();
        drop(a);
        let _c = queue.push('c').unwrap();
        assert_eq!((queue.try_pop(), queue.try_pop()), (Some('b'), Some('c')));
    }

    #[test]
    fn a_closed_queue_wakes_who_waits_for_work() {
        let queue = Queue::new(2);
        let waits = queue.clone();
        let thread = std::thread::spawn(move || waits.pop());
        queue.close();
        assert_eq!(thread.join().unwrap(), None);
        assert_eq!(queue.push('a').unwrap_err(), Refusal::Closed);
    }
}
