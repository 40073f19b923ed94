//! The ports of a spec as a container publishes them.

use super::run::PublishedPort;
use crate::model::Object;
use crate::model::specs::ports;
use serde_json::Value;

/// The published ports. An item that is not understood takes none, as the service's warnings say.
pub fn published(spec: &Object) -> Vec<PublishedPort> {
    let items = spec.get("ports").and_then(Value::as_array).into_iter().flatten();
    items.flat_map(of_item).collect()
}

/// The ports of an item; those of the container are the machine's where it names none.
fn of_item(item: &Value) -> Vec<PublishedPort> {
    let (address, first) = match item {
        Value::Object(port) => {
            let given = |names: [&str; 2]| names.into_iter().find_map(|name| port.get(name).filter(|v| !v.is_null()));
            let address = given(["address", "host_ip"]).and_then(Value::as_str);
            let number = given(["container_port", "target"]).and_then(Value::as_u64);
            (address, number.and_then(|number| u16::try_from(number).ok()))
        }
        Value::String(text) => of_text(text.trim()),
        _ => (None, None),
    };
    let hosts = ports::read(item).unwrap_or_default();
    let offset = |at: usize| first.and_then(|first| first.checked_add(u16::try_from(at).ok()?));
    let publish = |(at, host): (usize, crate::model::specs::HostPort)| PublishedPort {
        address: address.map(str::to_string),
        host_port: host.port,
        container_port: offset(at).unwrap_or(host.port),
        protocol: host.protocol.as_str().to_string(),
    };
    hosts.into_iter().enumerate().map(publish).collect()
}

/// Address and first container port of `[ADDRESS:]HOST[:CONTAINER][/PROTOCOL]`.
fn of_text(text: &str) -> (Option<&str>, Option<u16>) {
    let numbers = text.split('/').next().unwrap_or(text);
    let bracketed = numbers.strip_prefix('[').and_then(|rest| rest.split_once("]:"));
    let (address, ports) = match bracketed {
        Some((address, ports)) => (Some(address), ports),
        None if numbers.split(':').count() == 3 => {
            numbers.split_once(':').map_or((None, numbers), |(address, ports)| (Some(address), ports))
        }
        None => (None, numbers),
    };
    let container = ports.split_once(':').and_then(|(_, container)| container.split('-').next()?.parse().ok());
    (address, container)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_form_of_a_port_is_published() {
        let spec = json!({"ports": [
            80, {"host_port": 81, "container_port": 8081, "address": "127.0.0.1"}, {"published": 53, "protocol": "udp"},
            "82", "83:8083", "127.0.0.1:84:8084/udp", "[::1]:85:8085", "86-87:8086-8087", "nonsense", {"target": 5},
        ]});
        let found = published(spec.as_object().expect("an object"));
        let texts: Vec<String> = found
            .iter()
            .map(|p| {
                let address = p.address.as_deref().unwrap_or("*");
                format!("{address} {} {} {}", p.host_port, p.container_port, p.protocol)
            })
            .collect();
        let wanted = [
            "* 80 80 tcp",
            "127.0.0.1 81 8081 tcp",
            "* 53 53 udp",
            "* 82 82 tcp",
            "* 83 8083 tcp",
            "127.0.0.1 84 8084 udp",
            "::1 85 8085 tcp",
            "* 86 8086 tcp",
            "* 87 8087 tcp",
        ];
        assert_eq!(texts, wanted);
    }
}
