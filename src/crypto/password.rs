//! Passwords: argon2id in the PHC string format.

use super::random;
use crate::error::{Error, Result};
use argon2::password_hash::{Output, PasswordHash, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};

/// Memory of a check in KiB: the minimum of OWASP's password storage cheat sheet, for small machines.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over it: OWASP's minimum is 2; six make a check take 50 to 100 ms on a common server core.
const PASSES: u32 = 6;
/// Bytes of a hash.
const HASH_BYTES: usize = 32;
/// Blocks of 1 KiB that a check allocates, although it touches fewer: glibc returns allocations above 32 MiB to the
/// kernel when they are freed, but keeps smaller ones, once per thread that ever made one.
const ALLOCATED_BLOCKS: usize = 33 * 1024;

fn params() -> Params {
    Params::new(MEMORY_KIB, PASSES, 1, Some(HASH_BYTES)).expect("the parameters are constant and valid")
}

/// Argon2id of a password.
pub(super) fn argon2id(password: &[u8], salt: &[u8], params: Params) -> argon2::Result<[u8; HASH_BYTES]> {
    let mut memory = Vec::with_capacity(ALLOCATED_BLOCKS.max(params.block_count()));
    memory.resize(params.block_count(), Block::new());
    let mut hash = [0; HASH_BYTES];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into_with_memory(
        password,
        salt,
        &mut hash,
        &mut memory,
    )?;
    Ok(hash)
}

/// Hashes a new password under a fresh salt.
pub fn hash(password: &str) -> Result<String> {
    let failed = |e: String| Error::fault("hash a password", e);
    let salt_bytes = random::<16>();
    let salt = SaltString::encode_b64(&salt_bytes).map_err(|e| failed(e.to_string()))?;
    let hash = argon2id(password.as_bytes(), &salt_bytes, params()).map_err(|e| failed(e.to_string()))?;
    let hash = Output::new(&hash).map_err(|e| failed(e.to_string()))?;
    Ok(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1${salt}${hash}"))
}

/// True if the password matches the hash, at the cost that the hash names.
pub fn verify(password: &str, phc: &str) -> bool {
    let check = || {
        let hash = PasswordHash::new(phc).ok().filter(|h| h.algorithm.as_str() == "argon2id")?;
        let mut salt = [0; 64];
        let salt = hash.salt?.decode_b64(&mut salt).ok()?;
        let found = argon2id(password.as_bytes(), salt, Params::try_from(&hash).ok()?).ok()?;
        // Compares in constant time.
        Some(Output::new(&found).ok()? == hash.hash?)
    };
    check().unwrap_or(false)
}

/// Takes as long as [`verify`], so that timing does not reveal which users exist.
pub fn dummy_verify(password: &str) {
    // Only the time matters.
    let _ = argon2id(password.as_bytes(), &[0; 16], params());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_its_own_hash_only() {
        let one = hash("uptime").expect("a hash");
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=6,p=1$"), "{one}");
        assert_ne!(one, hash("uptime").expect("another hash"), "the salt is fresh");
        assert!(verify("uptime", &one) && !verify("Uptime", &one) && !verify("", &one));
        let seeded = include_str!("../../sql/seeds/0001_admin.sql");
        let seeded = seeded.split('\'').find(|part| part.starts_with("$argon2id")).expect("the seed has a hash");
        assert!(verify("uptime", seeded) && !verify("admin", seeded));
        assert!(!verify("uptime", "") && !verify("uptime", "$argon2id$broken"));
    }
}
