//! Ports that nothing else on this machine takes by accident.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the range from which the kernel picks the source ports of outgoing connections, so that no connection takes a
/// port between the look and the bind.
const RANGE: Range<u32> = 10_000..30_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A loopback address with a port that was free a moment ago and that this process has not given out lately.
pub(crate) fn free_address() -> SocketAddr {
    free_address_at(Ipv4Addr::LOCALHOST)
}

/// The same at one of the addresses of this machine.
pub(crate) fn free_address_at(host: Ipv4Addr) -> SocketAddr {
    let size = RANGE.end - RANGE.start;
    // Test processes that run at the same time start at different places.
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..size {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = RANGE.start + start.wrapping_add(step) % size;
        let address = SocketAddr::from((host, u16::try_from(port).expect("the range fits a port")));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port between {} and {}", RANGE.start, RANGE.end);
}
