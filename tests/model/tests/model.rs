//! What the wrapper finds, and how it tells it.
use std::sync::atomic::Ordering::SeqCst;

use model::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize},
};
use model::{Bounds, explore, require, thread};

#[test]
fn a_lost_update_is_found() {
    let failing = explore(Bounds::Exhaustive, || {
        let n = Arc::new(AtomicUsize::new(0));
        let m = n.clone();
        let t = thread::spawn("second", move || {
            let seen = m.load(SeqCst);
            m.store(seen + 1, SeqCst);
        });
        let seen = n.load(SeqCst);
        n.store(seen + 1, SeqCst);
        t.join().unwrap();
        require(n.load(SeqCst) == 2, "two were added, so there are two");
    })
    .fails();
    println!("{failing}");
}

#[test]
fn deadlock() {
    let failing = explore(Bounds::Exhaustive, || {
        let a = Arc::new(Mutex::new(0));
        let b = Arc::new(Mutex::new(0));
        let (c, d) = (a.clone(), b.clone());
        let t = thread::spawn("second", move || {
            let _d = d.lock().unwrap();
            let _c = c.lock().unwrap();
        });
        {
            let _a = a.lock().unwrap();
            let _b = b.lock().unwrap();
        }
        t.join().unwrap();
    })
    .fails();
    println!("{failing}");
}

struct Guard(Arc<AtomicBool>, Arc<Mutex<Vec<usize>>>);
impl Drop for Guard {
    fn drop(&mut self) {
        self.0.swap(true, SeqCst);
        self.1.lock().unwrap_or_else(|e| e.into_inner()).push(1);
    }
}

#[test]
fn drop_unwinding() {
    for _ in 0..100 {
        let failing = explore(Bounds::Exhaustive, || {
            let g = Guard(
                Arc::new(AtomicBool::new(false)),
                Arc::new(Mutex::new(vec![])),
            );
            let n = Arc::new(AtomicUsize::new(0));
            let m = n.clone();
            let g1 = g.1.clone();
            let g2 = g.1.clone();
            let t = thread::spawn("second", move || {
                let _x = g1.lock().unwrap();
                m.fetch_add(1, SeqCst);
            });
            let t2 = thread::spawn("third", move || {
                let _g = g;
                let mut a = g2.lock().unwrap();
                a.push(3);
                require(n.load(SeqCst) == 1, "x");
            });
            t.join().unwrap();
            t2.join().unwrap();
        })
        .fails();
        println!("{failing}");
    }
}

#[test]
fn count() {
    let failing = explore(Bounds::Exhaustive, || {
        let n = Arc::new(AtomicUsize::new(0));
        let free = Arc::new(AtomicUsize::new(0));
        let m = n.clone();
        let f = free.clone();
        let done = move |a: Arc<AtomicUsize>, f: &AtomicUsize| {
            if Arc::strong_count(&a) == 1 {
                f.fetch_add(1, SeqCst);
            }
        };
        let t = thread::spawn("second", move || done(m, &f));
        done(n, &free);
        t.join().unwrap();
        require(free.load(SeqCst) == 1, "the last owner releases");
    })
    .fails();
    println!("{failing}");
}
