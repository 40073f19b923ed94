//! Commands about sessions.

use super::answers::{encoded, listed_at, remove};
use super::args::{Args, Command, Failure, command};
use super::connect::SIGN_IN;
use super::output::{Kind, Table, column};
use super::watch::WATCH;

const SESSIONS: Table = Table {
    noun: "sessions",
    id: "id",
    columns: &[
        column("ID", "id", Kind::Id),
        column("USER", "user", Kind::Text),
        column("ADDRESS", "address", Kind::Id),
        column("BEGAN", "created_at", Kind::Time).spare(),
        column("LAST SEEN", "last_seen_at", Kind::Time),
        column("ENDS", "expires_at", Kind::Time),
        column("USER AGENT", "user_agent", Kind::Text),
    ],
    tabs: &[
        ("ID", "id"),
        ("USER", "user"),
        ("ADDRESS", "address"),
        ("BEGAN", "created_at"),
        ("LAST SEEN", "last_seen_at"),
        ("ENDS", "expires_at"),
        ("USER AGENT", "user_agent"),
    ],
};

/// Every command of this file.
pub const COMMANDS: &[Command] = &[
    command("session list", "", "List sessions of all users.", &[WATCH, SIGN_IN], list),
    command("session revoke", "ID", "End a session.", &[SIGN_IN], revoke),
];

fn list(args: &Args) -> Result<(), Failure> {
    listed_at(args, &SESSIONS, "/sessions")
}

fn revoke(args: &Args) -> Result<(), Failure> {
    remove(args, &format!("/sessions/{}", encoded(args.word(0))))
}
