//! Cryptography: the only user of ring, rcgen, argon2 and x509-parser, and the place that configures rustls. Keys are
//! passed as bytes; storage and permissions are decided elsewhere.

pub mod container;
pub mod lease;
pub mod password;
pub mod pki;
pub mod release;
mod sealed;
pub mod signature;
pub mod tls;
pub mod token;
pub mod work;

use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};

/// `N` random bytes.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the kernel gives random bytes, or nothing here may go on");
    bytes
}

/// `bytes` random bytes, at most 32, in hex.
pub fn random_hex(bytes: usize) -> String {
    hex(&random::<32>()[..bytes.min(32)])
}

/// Random text for people to read aloud and type: `chars` unambiguous letters and digits of five bits each.
pub fn random_words(chars: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    random::<32>().iter().take(chars).map(|b| char::from(ALPHABET[usize::from(b & 31)])).collect()
}

/// A random number below a small `bound`: the bias of the remainder does not matter for spreading waits.
pub fn random_below(bound: u64) -> u64 {
    u64::from_le_bytes(random::<8>()) % bound.max(1)
}

/// A random UUID, version 4 (RFC 9562 §5.4).
pub fn uuid() -> String {
    let mut b = random::<16>();
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let h = hex(&b);
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    sum
}

/// Incremental SHA-256.
pub struct Sum(digest::Context);

impl Default for Sum {
    fn default() -> Sum {
        Sum(digest::Context::new(&digest::SHA256))
    }
}

impl Sum {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes, in lower-case hex.
    pub fn hex(self) -> String {
        hex(self.0.finish().as_ref())
    }
}

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&sha256(bytes))
}

/// SHA-256 of everything that a reader returns, in lower-case hex.
pub fn sha256_hex_of(mut reader: impl std::io::Read) -> std::io::Result<String> {
    let mut sum = digest::Context::new(&digest::SHA256);
    let mut piece = vec![0; 64 << 10];
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return Ok(hex(sum.finish().as_ref())),
            Ok(n) => sum.update(&piece[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_random_names_have_their_forms() {
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(sha256_hex_of(&[7; 200_000][..]).ok(), Some(sha256_hex(&[7; 200_000])));
        let id = uuid();
        assert!(id.len() == 36 && &id[14..15] == "4" && "89ab".contains(&id[19..20]), "{id}");
        assert_ne!(id, uuid());
        assert_eq!(random_hex(8).len(), 16);
    }
}
