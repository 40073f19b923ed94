//! Passwords: argon2id in the PHC string format.

use super::random;
use crate::error::{Error, Result};
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

/// Memory of a check, in KiB: the least that OWASP's password storage cheat sheet names, for small machines.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over it: OWASP's least is 2; so many make a check take 50 to 100 ms on a common server core.
const PASSES: u32 = 6;

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).expect("the parameters are constant and valid");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Hashes a new password under a fresh salt.
pub fn hash(password: &str) -> Result<String> {
    let failed = |e: argon2::password_hash::Error| Error::fault("hash a password", e.to_string());
    let salt = SaltString::encode_b64(&random::<16>()).map_err(failed)?;
    Ok(argon2().hash_password(password.as_bytes(), &salt).map_err(failed)?.to_string())
}

/// Whether this password has this hash, at the cost that the hash names.
pub fn verify(password: &str, phc: &str) -> bool {
    PasswordHash::new(phc).is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Takes as long as [`verify`], so that nobody can tell by the time which users exist.
pub fn dummy_verify(password: &str) {
    let mut out = [0; 32];
    // Only its time matters.
    let _ = argon2().hash_password_into(password.as_bytes(), &[0; 16], &mut out);
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
        assert!(!verify("uptime", "") && !verify("uptime", "$argon2id$broken"));
    }
}
