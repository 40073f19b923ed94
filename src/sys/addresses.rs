//! The addresses of this machine, most likely reachable first. Read from the kernel's tables; bridges of containers and
//! tunnels are recognised by their name and by `/sys`.

use crate::model::address::is_carrier_nat;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Name prefixes of interfaces of containers and virtual machines, which only this machine can reach.
const CONTAINERS: &[&str] = &[
    "docker", "br-", "podman", "cni", "virbr", "vnet", "veth", "lxcbr", "lxdbr", "incusbr", "cali", "flannel",
    "cilium", "lxc", "nerdctl", "kube", "vboxnet", "vmnet",
];
/// Name prefixes of tunnels.
const TUNNELS: &[&str] = &["wg", "tun", "tap", "tailscale", "zt", "ipsec", "sit", "gre", "utun", "nebula"];
/// Flags of an IPv6 address: temporary, failed, deprecated or tentative.
const V6_UNFIT: u32 = 0x01 | 0x08 | 0x20 | 0x40;

/// Kind of the network behind an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A network with other machines.
    Network,
    /// Another network, through this one.
    Tunnel,
    /// Containers and virtual machines of this machine.
    Containers,
}

/// Likelihood that others can reach an address, highest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likelihood {
    /// On the interface of the default route, by its metric.
    Outward(u32),
    /// In a network without a default route.
    Inward,
    /// From a carrier or an overlay network (100.64.0.0/10).
    CarrierNat,
    /// Of a tunnel, or without a known route.
    Tunnel,
    /// Reachable only for this machine and its containers.
    Local,
}

/// The kernel's tables as text.
pub struct Tables<'t> {
    /// `/proc/net/fib_trie`.
    pub fib_trie: &'t str,
    /// `/proc/net/route`.
    pub route: &'t str,
    /// `/proc/net/if_inet6`.
    pub if_inet6: &'t str,
    /// `/proc/net/ipv6_route`.
    pub ipv6_route: &'t str,
}

/// The addresses of this machine's interfaces but loopback and link-local IPv6, which needs an interface to be said;
/// the likeliest first.
pub fn all() -> Vec<(IpAddr, Likelihood)> {
    let read = |name: &str| fs::read_to_string(Path::new("/proc/net").join(name)).unwrap_or_default();
    let (fib_trie, route, if_inet6, ipv6_route) =
        (read("fib_trie"), read("route"), read("if_inet6"), read("ipv6_route"));
    ranked(&Tables { fib_trie: &fib_trie, route: &route, if_inet6: &if_inet6, ipv6_route: &ipv6_route }, |name| {
        kind(name, Path::new("/sys/class/net"))
    })
}

/// Addresses that other machines may reach; all if there are none.
pub fn outward() -> Vec<IpAddr> {
    let all = all();
    let is_local = |likelihood: &Likelihood| *likelihood == Likelihood::Local;
    let none_else = all.iter().all(|(_, likelihood)| is_local(likelihood));
    all.into_iter().filter(|(_, likelihood)| none_else || !is_local(likelihood)).map(|(ip, _)| ip).collect()
}

/// True if a socket for all addresses of IPv6 excludes those of IPv4.
pub fn v6_is_alone() -> bool {
    fs::read_to_string("/proc/sys/net/ipv6/bindv6only").is_ok_and(|text| text.trim() == "1")
}

/// The addresses in these tables, the likeliest first; IPv4 before IPv6 where both are equally likely.
pub fn ranked(tables: &Tables, kind: impl Fn(&str) -> Kind) -> Vec<(IpAddr, Likelihood)> {
    let (v4_routes, v6_default) = (v4_routes(tables.route), v6_default(tables.ipv6_route));
    let v4_default: Vec<(&str, u32)> =
        v4_routes.iter().filter(|r| r.mask == 0).map(|r| (r.interface, r.metric)).collect();
    let belongs = |ip: Ipv4Addr| {
        let contains = |r: &&V4Route| r.mask != 0 && !r.by_gateway && u32::from(ip) & r.mask == r.network;
        v4_routes.iter().filter(contains).max_by_key(|r| r.mask).map(|r| r.interface)
    };
    let v4: Vec<(Ipv4Addr, Option<&str>)> = local_v4(tables.fib_trie).into_iter().map(|ip| (ip, belongs(ip))).collect();
    // Clouds give an address without a network: if the default route leaves through an interface without an address, it
    // is that interface's.
    let unnamed = v4_default
        .first()
        .filter(|(name, _)| !v4.iter().any(|(_, interface)| *interface == Some(*name)))
        .map(|(name, _)| *name);
    let of = |ip: IpAddr, interface: Option<&str>, default: &[(&str, u32)]| {
        let metric = default.iter().filter(|(name, _)| Some(*name) == interface).map(|(_, metric)| *metric).min();
        let likelihood = match (ip, interface, metric) {
            (IpAddr::V4(v4), ..) if v4.is_link_local() => Likelihood::Local,
            (_, Some(_), _) if is_carrier_nat(ip) && interface.map(&kind) == Some(Kind::Network) => {
                Likelihood::CarrierNat
            }
            (_, Some(_), Some(metric)) => Likelihood::Outward(metric),
            (_, Some(name), None) => match kind(name) {
                Kind::Network => Likelihood::Inward,
                Kind::Tunnel => Likelihood::Tunnel,
                Kind::Containers => Likelihood::Local,
            },
            (_, None, _) => Likelihood::Tunnel,
        };
        (ip, likelihood)
    };
    let mut found: Vec<_> =
        v4.iter().map(|(ip, interface)| of(IpAddr::V4(*ip), interface.or(unnamed), &v4_default)).collect();
    found.extend(local_v6(tables.if_inet6).into_iter().map(|(ip, interface)| of(ip, Some(interface), &v6_default)));
    found.sort_by_key(|(ip, likelihood)| {
        (
            match likelihood {
                Likelihood::Outward(_) => Likelihood::Outward(0),
                other => *other,
            },
            ip.is_ipv6(),
            *likelihood,
            *ip,
        )
    });
    found.dedup();
    found
}

/// Of the kernel's routing table, what is routed to this machine: a line with an address, and below it
/// `/32 host LOCAL`.
fn local_v4(fib_trie: &str) -> Vec<Ipv4Addr> {
    let mut last = None;
    let mut found = Vec::new();
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last.filter(|a| !a.is_loopback() && !found.contains(a)));
        }
    }
    found
}

/// A line of `/proc/net/route`.
struct V4Route<'t> {
    interface: &'t str,
    network: u32,
    mask: u32,
    metric: u32,
    by_gateway: bool,
}

/// Interface, destination, gateway, flags, two counts, metric, mask; numbers of addresses in the machine's own order of
/// bytes.
fn v4_routes(route: &str) -> Vec<V4Route<'_>> {
    let one = |line| {
        let words: Vec<&str> = str::split_whitespace(line).collect();
        let address =
            |i: usize| u32::from_str_radix(words.get(i)?, 16).ok().map(|n| u32::from_be_bytes(n.to_ne_bytes()));
        let (network, gateway, mask) = (address(1)?, address(2)?, address(7)?);
        Some(V4Route {
            interface: words[0],
            network,
            mask,
            metric: words.get(6)?.parse().ok()?,
            by_gateway: gateway != 0,
        })
    };
    route.lines().filter_map(one).collect()
}

/// Interfaces by which the default route of IPv6 leaves, with its metric. A line: destination, length of its prefix,
/// source and its, next hop, metric, two counts, flags, interface.
fn v6_default(ipv6_route: &str) -> Vec<(&str, u32)> {
    let one = |line| {
        let words: Vec<&str> = str::split_whitespace(line).collect();
        let is_default = words.first()?.bytes().all(|b| b == b'0') && *words.get(1)? == "00";
        let metric = u32::from_str_radix(words.get(5)?, 16).ok()?;
        let interface = *words.get(9)?;
        (is_default && interface != "lo").then_some((interface, metric))
    };
    ipv6_route.lines().filter_map(one).collect()
}

/// Of the kernel's list of IPv6 addresses, those of global scope (`00`) that last: 32 digits, then index, length of the
/// prefix, scope, flags and interface.
fn local_v6(if_inet6: &str) -> Vec<(IpAddr, &str)> {
    let one = |line| {
        let words: Vec<&str> = str::split_whitespace(line).collect();
        let address = u128::from_str_radix(words.first()?, 16).ok()?;
        let flags = u32::from_str_radix(words.get(4)?, 16).ok()?;
        (*words.get(3)? == "00" && flags & V6_UNFIT == 0).then_some((IpAddr::V6(address.into()), *words.get(5)?))
    };
    if_inet6.lines().filter_map(one).collect()
}

/// Kind of the network behind an interface, from its name and `/sys/class/net`.
fn kind(name: &str, sys: &Path) -> Kind {
    let has = |file: &str| sys.join(name).join(file).exists();
    let read = |file: &str| fs::read_to_string(sys.join(name).join(file)).unwrap_or_default();
    let begins = |names: &[&str]| names.iter().any(|n| name.starts_with(n));
    // A bridge with a card as a port is the machine's way out, whatever its name.
    let has_card = || {
        let ports = fs::read_dir(sys.join(name).join("brif")).into_iter().flatten().flatten();
        ports.into_iter().any(|port| sys.join(port.file_name()).join("device").exists())
    };
    if has("bridge") || begins(CONTAINERS) {
        return if has("device") || has_card() { Kind::Network } else { Kind::Containers };
    }
    match begins(TUNNELS) || has("tun_flags") || read("uevent").contains("DEVTYPE=wireguard") {
        true => Kind::Tunnel,
        false => Kind::Network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses in tables as the kernel writes them, of interfaces known by name alone.
    fn of(v4: &[&str], route: &str, if_inet6: &str, ipv6_route: &str) -> Vec<String> {
        let fib_trie: String =
            v4.iter().map(|ip| format!("           |-- {ip}\n              /32 host LOCAL\n")).collect();
        let route: String = route.lines().map(|line| format!("{}\t00000001\t0\n", line.trim())).collect();
        let tables = Tables { fib_trie: &fib_trie, route: &written(&route), if_inet6, ipv6_route };
        let found = ranked(&tables, |name| kind(name, Path::new("/nowhere")));
        found.iter().map(|(ip, likelihood)| format!("{ip} {likelihood:?}")).collect()
    }

    /// Routes as the kernel writes them, of `interface network mask gateway metric`.
    fn written(routes: &str) -> String {
        let hex =
            |ip: &str| format!("{:08X}", u32::from_ne_bytes(ip.parse::<Ipv4Addr>().expect("an address").octets()));
        let line = |line: &str| {
            let w: Vec<&str> = line.split_whitespace().collect();
            format!("{}\t{}\t{}\t0003\t0\t0\t{}\t{}\t0\t0\t0\n", w[0], hex(w[1]), hex(w[3]), w[4], hex(w[2]))
        };
        let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
        head.to_string() + &routes.lines().filter(|l| !l.trim().is_empty()).map(line).collect::<String>()
    }

    #[test]
    fn the_way_out_comes_first_and_bridges_of_containers_last() {
        let found = of(
            &[
                "127.0.0.1",
                "10.88.0.1",
                "100.101.102.103",
                "100.70.1.2",
                "169.254.9.9",
                "172.17.0.1",
                "192.168.122.1",
                "192.168.1.7",
                "10.0.5.1",
            ],
            "eth0 0.0.0.0 0.0.0.0 192.168.1.1 100
             lte0 0.0.0.0 0.0.0.0 100.70.1.1 700
             eth0 192.168.1.0 255.255.255.0 0.0.0.0 100
             lte0 100.70.1.0 255.255.255.0 0.0.0.0 700
             eth1 10.0.5.0 255.255.255.0 0.0.0.0 0
             docker0 172.17.0.0 255.255.0.0 0.0.0.0 0
             podman0 10.88.0.0 255.255.0.0 0.0.0.0 0
             virbr0 192.168.122.0 255.255.255.0 0.0.0.0 0
             eth0 169.254.0.0 255.255.0.0 0.0.0.0 1000",
            "fe800000000000000000000000000001 02 40 20 80 eth0
             20010db8000000000000000000000007 02 40 00 80 eth0
             20010db80000000000000000abcdef01 02 40 01 80 eth0
             20010db80000000000000000000000dd 02 40 20 80 eth0
             fd000000000000000000000000000001 05 40 00 80 wg0
             fd5d00000000000000000000000000d0 04 40 00 80 docker0
             00000000000000000000000000000001 01 80 10 80 lo",
            "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000099 \
                00000064 00000001 00000000 00000003 eth0",
        );
        assert_eq!(
            found,
            [
                "192.168.1.7 Outward(100)",
                "2001:db8::7 Outward(100)",
                "10.0.5.1 Inward",
                "100.70.1.2 CarrierNat",
                "100.101.102.103 Tunnel",
                "fd00::1 Tunnel",
                "10.88.0.1 Local",
                "169.254.9.9 Local",
                "172.17.0.1 Local",
                "192.168.122.1 Local",
                "fd5d::d0 Local",
            ]
        );
    }

    #[test]
    fn of_two_ways_out_the_one_that_is_used_first_comes_first() {
        let routes = "wlan0 0.0.0.0 0.0.0.0 10.1.0.1 600
             eth0 0.0.0.0 0.0.0.0 10.9.0.1 100
             wlan0 10.1.0.0 255.255.0.0 0.0.0.0 600
             eth0 10.9.0.0 255.255.0.0 0.0.0.0 100";
        assert_eq!(of(&["10.1.0.5", "10.9.0.5"], routes, "", ""), ["10.9.0.5 Outward(100)", "10.1.0.5 Outward(600)"]);
        // A cloud's address without a network, and a bridge as the way out.
        let routes = "ens4 0.0.0.0 0.0.0.0 10.128.0.1 0
             ens4 10.128.0.1 255.255.255.255 0.0.0.0 0
             br-0a1b2c3d4e5f 172.18.0.0 255.255.0.0 0.0.0.0 0";
        assert_eq!(of(&["10.128.0.2", "172.18.0.1"], routes, "", ""), ["10.128.0.2 Outward(0)", "172.18.0.1 Local"]);
        let routes = "br-lan 0.0.0.0 0.0.0.0 10.0.0.1 0
             br-lan 10.0.0.0 255.255.255.0 0.0.0.0 0";
        assert_eq!(of(&["10.0.0.2"], routes, "", ""), ["10.0.0.2 Outward(0)"]);
        assert_eq!(of(&[], "", "nonsense\n1 2 3", "x"), [""; 0]);
    }

    #[test]
    fn what_an_interface_is_shows_in_sys() {
        let sys = std::env::temp_dir().join(format!("uptimemesh-sys-{}", std::process::id()));
        for path in [
            "vmbr0/bridge",
            "vmbr0/brif/eno1",
            "eno1/device",
            "mine/bridge",
            "mine/brif/veth1",
            "veth1",
            "vpn/x",
            "home/x",
            "brand0/device",
        ] {
            fs::create_dir_all(sys.join(path)).expect("a directory");
        }
        fs::write(sys.join("vpn/tun_flags"), "0x1001").expect("a file");
        fs::write(sys.join("home/uevent"), "DEVTYPE=wireguard\nINTERFACE=home\n").expect("a file");
        let all = ["vmbr0", "mine", "vpn", "home", "brand0", "eno1"].map(|name| kind(name, &sys));
        assert_eq!(all, [Kind::Network, Kind::Containers, Kind::Tunnel, Kind::Tunnel, Kind::Network, Kind::Network]);
        fs::remove_dir_all(sys).expect("the directory is ours");
    }
}
