use std::io;
use std::net::TcpListener;

use super::LOCALHOST;
use crate::cli::failure::Failure;

/// How many blocks of ports are tried.
const TRIES: u16 = 50;

/// Ports for the listeners of `count` replicas, traffic and admin: consecutive ones from the configured ports on, or
/// the next block of which none is taken. Port 0 stands for any free port.
pub(super) fn free_block(traffic: u16, admin: u16, count: u16) -> Result<Vec<(u16, u16)>, Failure> {
    for skipped in 0..TRIES {
        let offset = skipped * count;
        let block: Option<Vec<_>> = (offset..offset + count)
            .map(|index| Some((shifted(traffic, index)?, shifted(admin, index)?)))
            .collect();
        let Some(block) = block else { break };
        match taken(&block)? {
            None => return Ok(block),
            Some(port) => tracing::warn!(port, "the port is taken: trying the next block"),
        }
    }
    Err(Failure::Setting(format!(
        "listen, admin_listen: no {count} free ports in a row from {traffic} and {admin} on; give other ports, or 0 for any"
    )))
}

fn shifted(first: u16, by: u16) -> Option<u16> {
    if first == 0 { Some(0) } else { first.checked_add(by) }
}

fn taken(block: &[(u16, u16)]) -> io::Result<Option<u16>> {
    let mut held = Vec::new();
    for port in block.iter().flat_map(|(traffic, admin)| [*traffic, *admin]) {
        match TcpListener::bind((LOCALHOST, port)) {
            Ok(listener) => held.push(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(Some(port)),
            Err(error) => {
                let what = format!("cannot listen on {LOCALHOST}:{port}: {error}");
                return Err(io::Error::new(error.kind(), what));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_moves_the_whole_block() {
        let holder = TcpListener::bind((LOCALHOST, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        let Ok(block) = free_block(port, 0, 2) else { return };
        assert_eq!(block.len(), 2);
        assert!(
            block[0].0 >= port + 2 && (block[0].0 - port).is_multiple_of(2),
            "{block:?}"
        );
        assert_eq!(block[1].0, block[0].0 + 1);
        assert_eq!(block[0].1, 0);
    }

    #[test]
    fn where_there_are_no_ports_the_settings_are_named() {
        let error = free_block(65_535, 0, 2).unwrap_err().to_string();
        assert!(error.contains("listen") && error.contains("65535"), "{error}");
    }
}
