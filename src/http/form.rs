//! Bodies and queries in the form `name=value&name=value`. Handlers interpret the names.

use crate::percent::decode_form;

/// Maximum pairs read from one form; more are ignored. No page or route has a tenth of these, and a body of nothing but
/// `&a` must not become a hundred times its size in memory.
pub const PAIRS_MAX: usize = 1_000;

/// Splits a form into decoded pairs in order; a name without `=` has an empty value.
pub fn parse(text: &[u8]) -> Vec<(String, String)> {
    let pair = |part: &[u8]| {
        let middle = part.iter().position(|&byte| byte == b'=').unwrap_or(part.len());
        (decode_form(&part[..middle]), decode_form(part.get(middle + 1..).unwrap_or_default()))
    };
    text.split(|&byte| byte == b'&').filter(|part| !part.is_empty()).take(PAIRS_MAX).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_keep_their_order_and_repetitions() {
        let pairs = parse(b"a=1&&b=x+y%26z&a=2&c&=d&e=f=g");
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("a", "1"), ("b", "x y&z"), ("a", "2"), ("c", ""), ("", "d"), ("e", "f=g")]);
        assert_eq!(parse(b""), []);
    }

    #[test]
    fn the_number_of_pairs_is_bounded() {
        assert_eq!(parse(&b"a&".repeat(PAIRS_MAX + 1)).len(), PAIRS_MAX);
    }
}
