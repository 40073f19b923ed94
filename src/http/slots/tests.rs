//! Connections that make room for others, and those that do not.

use super::*;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// A connection of the table, and its other end.
struct Client {
    slot: Option<Slot>,
    standing: Arc<Standing>,
    other: UnixStream,
}

impl Client {
    fn is_open(&mut self) -> bool {
        self.other.set_nonblocking(true).expect("a socket that does not wait");
        self.other.read(&mut [0]).is_err()
    }
}

fn connect(slots: &Arc<Slots>, limits: &Limits, address: &str) -> Client {
    let (socket, other) = UnixStream::pair().expect("a pair of sockets");
    let (socket, standing) = (Arc::new(TcpStream::from(OwnedFd::from(socket))), Arc::<Standing>::default());
    let slot = slots.admit(limits, address.parse().expect("an address"), Arc::clone(&standing), socket);
    Client { slot, standing, other }
}

fn limits(connections_max: usize, connections_per_address_max: usize) -> Limits {
    Limits { connections_max, connections_per_address_max, ..Limits::default() }
}

fn open_of(clients: &mut [Client]) -> Vec<usize> {
    clients.iter_mut().enumerate().filter_map(|(i, client)| client.is_open().then_some(i)).collect()
}

#[test]
fn an_ipv6_network_has_a_few_times_as_much_as_an_address() {
    let (slots, limits) = (Arc::default(), limits(1000, 4));
    let mut of_links: Vec<Client> = (0..16)
        .flat_map(|link| [link; 4])
        .map(|link| connect(&slots, &limits, &format!("2001:db8:0:{link:x}::1")))
        .collect();
    assert_eq!(open_of(&mut of_links), (56..64).collect::<Vec<_>>(), "a /56 has twice as much");
    let mut of_site: Vec<Client> =
        (1..50).map(|i| connect(&slots, &limits, &format!("2001:db8:0:{i:x}00::1"))).collect();
    assert_eq!(open_of(&mut of_links).len() + open_of(&mut of_site).len(), 16, "a /48 four times as much");
    assert!(connect(&slots, &limits, "2001:db8:1::1").is_open() && connect(&slots, &limits, "192.0.2.1").is_open());
    of_links.clear();
    of_site.clear();
    let state = lock(&slots.state);
    assert_eq!((state.open.len(), state.by_network.len(), state.leaving.len()), (0, 0, 0));
}

#[test]
fn who_holds_all_descriptors_makes_room_though_fewer_connections_are_open_than_may_be() {
    let (slots, limits) = (Arc::default(), limits(1000, 64));
    let of_reader = |_| {
        let client = connect(&slots, &limits, "192.0.2.1");
        client.standing.prove("user:reader", false);
        client
    };
    let mut readers: Vec<Client> = (0..8).map(of_reader).collect();
    slots.make_room();
    assert_eq!(open_of(&mut readers), (1..8).collect::<Vec<_>>());
}

#[test]
fn a_site_in_one_ipv6_network_keeps_the_connections_of_all_its_nodes() {
    let (slots, limits) = (Arc::default(), limits(1000, 4));
    let node = |i: usize| {
        let client = connect(&slots, &limits, &format!("2001:db8:0:{i:x}::1"));
        client.standing.prove(&format!("node:{i}"), false);
        client
    };
    let mut nodes: Vec<Client> = (0..50).map(node).collect();
    assert_eq!(open_of(&mut nodes), (0..50).collect::<Vec<_>>(), "more than a /56 and a /48 may have of strangers");
    let mut strangers: Vec<Client> =
        (0..50).map(|i| connect(&slots, &limits, &format!("2001:db8:0:{i:x}::2"))).collect();
    assert_eq!((open_of(&mut nodes).len(), open_of(&mut strangers)), (50, (42..50).collect()));
}

#[test]
fn who_has_proven_nothing_goes_first_and_the_oldest_of_them() {
    let (slots, limits) = (Arc::default(), limits(8, 100));
    let mut all: Vec<Client> = (0..8).map(|i| connect(&slots, &limits, &format!("192.0.2.{i}"))).collect();
    all[0].standing.prove("user:alice", false);
    all[1].standing.set_busy(true);
    for i in 8..12 {
        all.push(connect(&slots, &limits, &format!("198.51.100.{i}")));
    }
    assert_eq!(open_of(&mut all), [0, 1, 6, 7, 8, 9, 10, 11]);
    assert!(all.iter().all(|client| client.slot.is_some()));
}

#[test]
fn nobody_shuts_the_others_out_of_their_network() {
    let (slots, limits) = (Arc::default(), limits(100, 8));
    let mut all: Vec<Client> = (0..8).map(|_| connect(&slots, &limits, "192.0.2.1")).collect();
    for (i, client) in all.iter().enumerate() {
        client.standing.prove(if i == 0 { "user:other" } else { "user:greedy" }, false);
        client.standing.set_busy(true);
    }
    all.push(connect(&slots, &limits, "192.0.2.1"));
    assert_eq!(open_of(&mut all), [0, 2, 3, 4, 5, 6, 7, 8], "the oldest of who has most, although it is worked for");
    all[5].standing.set_busy(false);
    all[8].standing.prove("user:third", false);
    all.push(connect(&slots, &limits, "192.0.2.1"));
    assert_eq!(open_of(&mut all), [0, 2, 3, 4, 6, 7, 8, 9], "one that is not worked for goes before");

    // Requests that wait for their turn, so that nothing is authenticated yet.
    let mut all: Vec<Client> = (0..8).map(|_| connect(&slots, &limits, "192.0.2.2")).collect();
    all.iter().for_each(|client| client.standing.set_busy(true));
    assert!(connect(&slots, &limits, "192.0.2.2").slot.is_none(), "they have just come");
    std::thread::sleep(CHANCE);
    all.push(connect(&slots, &limits, "192.0.2.2"));
    assert_eq!(open_of(&mut all), [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn where_all_have_proven_something_the_greedy_makes_room_and_then_the_silent() {
    let (slots, limits) = (Arc::default(), limits(8, 100));
    let mut all: Vec<Client> = (0..8).map(|i| connect(&slots, &limits, &format!("192.0.2.{i}"))).collect();
    for (i, client) in all.iter().enumerate() {
        let holder = if (2..5).contains(&i) { "user:greedy" } else { ["node:a", "node:b", "node:c"][i % 3] };
        client.standing.prove(holder, false);
    }
    all.push(connect(&slots, &limits, "192.0.2.100"));
    all[8].standing.prove("node:d", false);
    assert_eq!(open_of(&mut all), [0, 1, 3, 4, 5, 6, 7, 8], "three of eight are more than a quarter");
    assert!(connect(&slots, &limits, "192.0.2.101").slot.is_none(), "none makes room");
    all[6].standing.set_parked(true);
    all[5].standing.set_parked(true);
    assert!(connect(&slots, &limits, "192.0.2.101").slot.is_some());
    assert!(!all[6].is_open() && all[5].is_open(), "the longest silent makes room");
}

#[test]
fn some_places_of_this_machine_are_taken_by_nobody_elsewhere() {
    let (slots, limits) = (Arc::default(), limits(8, 100));
    let mut local: Vec<Client> = (0..2).map(|_| connect(&slots, &limits, "127.0.0.1")).collect();
    let mut remote: Vec<Client> = (0..20).map(|i| connect(&slots, &limits, &format!("192.0.2.{i}"))).collect();
    assert_eq!((open_of(&mut local), open_of(&mut remote)), (vec![0, 1], (14..20).collect()));
    // A proxy on this machine forwards for others.
    let proxied = Limits { proxies: vec![Network::parse("127.0.0.1").expect("a network")], ..limits };
    let slots = Arc::default();
    let mut passed_on: Vec<Client> = (0..2).map(|_| connect(&slots, &proxied, "127.0.0.1")).collect();
    let _remote: Vec<Client> = (0..20).map(|i| connect(&slots, &proxied, &format!("192.0.2.{i}"))).collect();
    assert_eq!(open_of(&mut passed_on), [0; 0]);
}

#[test]
fn residents_count_for_no_network_and_make_no_room() {
    let (slots, limits) = (Arc::default(), limits(40, 4));
    let node = |i: usize| {
        let client = connect(&slots, &limits, "192.0.2.1");
        client.standing.prove(&format!("node:{}", i / 4), true);
        client
    };
    // As many as residents may be: seven eighths of all.
    let mut nodes: Vec<Client> = (0..35).map(node).collect();
    let mut others: Vec<Client> = (0..20).map(|_| connect(&slots, &limits, "192.0.2.1")).collect();
    assert_eq!(open_of(&mut others), (16..20).collect::<Vec<_>>(), "strangers have the cap of their address");
    others.extend((0..40).map(|i| connect(&slots, &limits, &format!("198.51.100.{i}"))));
    others.iter().for_each(|client| client.standing.prove("user:greedy", false));
    others.extend((0..20).map(|i| connect(&slots, &limits, &format!("203.0.113.{i}"))));
    assert_eq!(open_of(&mut nodes).len(), 35, "not one node made room");
    assert_eq!(open_of(&mut others).len(), 5);
    let fifth = connect(&slots, &limits, "192.0.2.9");
    fifth.standing.prove("node:0", true);
    let state = lock(&slots.state);
    assert_eq!((state.residents.len(), state.residents_of["node:0"]), (35, 4), "of a node only so many");
    drop(state);
    drop((nodes, others, fifth));
    let state = lock(&slots.state);
    assert_eq!((state.residents.len(), state.residents_of.len(), state.strangers.len()), (0, 0, 0));
    assert_eq!((state.open.len(), state.by_network.len()), (0, 0));
}

#[test]
fn strangers_have_a_cap_of_their_own() {
    let slots = Arc::default();
    let limits = Limits { strangers_max: 8, ..limits(1000, 100) };
    let connect = |i: usize| connect(&slots, &limits, &format!("192.0.2.{i}"));
    let mut known: Vec<Client> = (0..20)
        .map(|i| {
            let client = connect(i);
            client.standing.prove("user:alice", false);
            client
        })
        .collect();
    let mut strangers: Vec<Client> = (20..40).map(connect).collect();
    assert_eq!((open_of(&mut known).len(), open_of(&mut strangers)), (20, (12..20).collect()));
}
