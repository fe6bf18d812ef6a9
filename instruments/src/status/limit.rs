//! How many requests an address has.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Mutex,
    time::Duration,
};

use tokio::time::Instant;

use crate::locked;

/// How many requests an address has in any minute.
pub const MOST: usize = 5;
const MINUTE: Duration = Duration::from_secs(60);
/// How many addresses are told apart; those beyond them share one place.
const MOST_ADDRESSES: usize = 1_024;

/// When the last requests of an address came, the oldest first.
type Came = Vec<Instant>;

#[derive(Default)]
pub(super) struct Limit(Mutex<HashMap<Option<IpAddr>, Came>>);

impl Limit {
    /// Counts a request, or says after how many seconds the next one is let through.
    pub(super) fn take(&self, peer: Option<IpAddr>) -> Result<(), u64> {
        let now = Instant::now();
        let recent = |came: &Instant| now.duration_since(*came) < MINUTE;
        let mut addresses = locked(&self.0);
        let mut peer = peer.map(network);
        if addresses.len() >= MOST_ADDRESSES && !addresses.contains_key(&peer) {
            addresses.retain(|_, came| came.iter().any(recent));
            if addresses.len() >= MOST_ADDRESSES {
                peer = None;
            }
        }
        let came = addresses.entry(peer).or_default();
        came.retain(recent);
        if came.len() < MOST {
            came.push(now);
            return Ok(());
        }
        let wait = MINUTE - now.duration_since(came[0]);
        Err(wait.as_millis().div_ceil(1_000) as u64)
    }
}

/// One client has a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}
