//! Host ports in a spec: a number, an object, or the short forms of Compose.

use super::{HostPort, Protocol, count_of};
use serde_json::{Map, Value};
use std::net::IpAddr;

/// The host ports in one item of `ports`; an object may have none. The error is a sentence.
pub fn read(item: &Value) -> Result<Vec<HostPort>, String> {
    match item {
        Value::Object(port) => of_object(port),
        Value::String(text) => of_text(text.trim()),
        number => one(number).map(|port| vec![HostPort { protocol: Protocol::Tcp, port }]),
    }
}

/// `host_port`, or `published` as in Compose.
fn of_object(port: &Map<String, Value>) -> Result<Vec<HostPort>, String> {
    let given = |key: &str| port.get(key).filter(|v| !v.is_null());
    let protocol = match given("protocol") {
        None => Protocol::Tcp,
        Some(word) => word.as_str().and_then(Protocol::parse).ok_or("its protocol should be tcp or udp")?,
    };
    match (given("host_port"), given("published")) {
        (Some(a), Some(b)) if one(a)? != one(b)? => {
            Err("host_port and published name two ports; leave one of them out".to_string())
        }
        (Some(number), _) | (None, Some(number)) => Ok(vec![HostPort { protocol, port: one(number)? }]),
        (None, None) if given("container_port").or(given("target")).is_some() => Ok(Vec::new()),
        (None, None) => Err("it should have host_port, or published".to_string()),
    }
}

/// `[ADDRESS:]HOST[:CONTAINER][/PROTOCOL]`, where both ports may be ranges of the same length.
fn of_text(text: &str) -> Result<Vec<HostPort>, String> {
    let (numbers, word) = text.rsplit_once('/').unwrap_or((text, Protocol::Tcp.as_str()));
    let protocol = Protocol::parse(word).ok_or_else(|| format!("{word} should be tcp or udp"))?;
    let (address, ports) = match numbers.strip_prefix('[').map(|rest| rest.split_once("]:")) {
        Some(Some((address, ports))) => (Some(address), ports),
        Some(None) => return Err("after an address in brackets a colon and a port should follow".to_string()),
        None => match numbers.split(':').count() {
            3 => numbers.split_once(':').map_or((None, numbers), |(address, ports)| (Some(address), ports)),
            _ => (None, numbers),
        },
    };
    if let Some(address) = address
        && address.parse::<IpAddr>().is_err()
    {
        return Err(format!("{address} is not an IP address"));
    }
    let (host, container) = ports.split_once(':').map_or((ports, None), |(host, container)| (host, Some(container)));
    if host.is_empty() {
        return Err("it names no port of the host".to_string());
    }
    let host = range(host)?;
    if let Some(container) = container
        && range(container)?.len() != host.len()
    {
        return Err(
            "ranges for host and container should have the same length, or it is open which port is taken".to_string()
        );
    }
    Ok(host.map(|port| HostPort { protocol, port }).collect())
}

/// `8080`, or `8000-8010`.
fn range(text: &str) -> Result<std::ops::RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let port = text.parse().ok().filter(|port| digits && *port > 0);
        port.ok_or_else(|| format!("{text} is not a port, 1 to 65535"))
    };
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err(format!("the range {text} ends before it begins")) } else { Ok(first..=last) }
}

fn one(value: &Value) -> Result<u16, String> {
    let whole = !value.is_f64();
    let port = count_of(value).filter(|_| whole).and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
    port.ok_or_else(|| format!("{value} is not a port, 1 to 65535"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_form_is_read_or_refused() {
        for (item, want) in [
            (json!(80), "80/tcp"),
            (json!("8080"), "8080/tcp"),
            (json!("53/udp"), "53/udp"),
            (json!("8080:80"), "8080/tcp"),
            (json!("8080:80/udp"), "8080/udp"),
            (json!("127.0.0.1:8080:80"), "8080/tcp"),
            (json!("[::1]:8080:80/tcp"), "8080/tcp"),
            (json!("[fd00::1]:8080"), "8080/tcp"),
            (json!("8000-8002"), "8000/tcp 8001/tcp 8002/tcp"),
            (json!("8000-8001:80-81/udp"), "8000/udp 8001/udp"),
            (json!({"host_port": 53, "protocol": "udp"}), "53/udp"),
            (json!({"published": "8080", "target": 80}), "8080/tcp"),
            (json!({"published": 8080, "target": 80, "protocol": "udp", "mode": "host"}), "8080/udp"),
            (json!({"host_port": 8080, "published": "8080"}), "8080/tcp"),
            (json!({"container_port": 80}), ""),
            (json!({"target": 80}), ""),
        ] {
            let ports = read(&item).map(|ports| ports.iter().map(HostPort::to_string).collect::<Vec<_>>().join(" "));
            assert_eq!(ports.as_deref(), Ok(want), "{item}");
        }
        for item in [
            json!(0),
            json!(65_536),
            json!(80.5),
            json!(true),
            json!(null),
            json!([80]),
            json!(""),
            json!("http"),
            json!("80/sctp"),
            json!(":80"),
            json!("127.0.0.1::80"),
            json!("localhost:8080:80"),
            json!("8000-8001:80"),
            json!("8001-8000"),
            json!("1:2:3:4"),
            json!("[::1]"),
            json!("+80"),
            json!("80:0"),
            json!({}),
            json!({"hostPort": 80}),
            json!({"static": 80, "to": 80}),
            json!({"host_port": 1, "published": 2}),
            json!({"published": "8000-8001", "target": 80}),
            json!({"host_port": 80, "protocol": 6}),
        ] {
            assert!(read(&item).is_err(), "{item}");
        }
    }
}
