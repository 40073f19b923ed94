//! Commands about sessions.

use super::answers::{encoded, listed, remove};
use super::args::{Args, Command, Failure, command};
use super::connect::{SIGN_IN, signed_in};

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("session list", "", "List sessions of all users.", &[SIGN_IN], list),
    command("session revoke", "ID", "End a session.", &[SIGN_IN], revoke),
];

fn list(args: &Args) -> Result<(), Failure> {
    let list = signed_in(args)?.list("/sessions")?;
    let keys = ["id", "user", "address", "created_at", "last_seen_at", "expires_at", "user_agent"];
    listed(args, list, &["ID", "USER", "ADDRESS", "BEGAN", "LAST SEEN", "ENDS", "USER AGENT"], &keys);
    Ok(())
}

fn revoke(args: &Args) -> Result<(), Failure> {
    remove(args, &format!("/sessions/{}", encoded(args.word(0))))
}
